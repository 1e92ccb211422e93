// Package tokenclient gets OAuth 2.0 access tokens with the client-credentials
// grant and keeps them ready, so that a program never thinks about tokens.
//
// # Which function to use
//
//   - [New] with a [Config] makes a [Client]: one for each client application.
//   - [Client.Source] gives the token source of one scope.
//   - [Source.Client] gives an http.Client that sends the token to the hosts you
//     name. [NewTransport] is the same with more choice.
//   - [Source.Token] is for everything else; [Source.OAuth2] and [Source.PerRPC]
//     fit it to golang.org/x/oauth2 and to gRPC.
//
// # What it does
//
// A token that is fresh costs one atomic read and one look at the clock: no
// lock, no allocation. From the server's refresh_in on (else from a random
// point between 60 and 75 % of its life) the next call starts a refresh in the
// background and still gets the old token. All callers share one fetch, which
// no caller's cancellation stops; each waits no longer than its own context.
//
// A failure makes the whole client pause, longer each time up to 30 seconds and
// never shorter than Retry-After. While a valid token is there nobody notices.
// When none is left the first two failures are waited out by callers whose
// deadline allows it, and from then on every caller gets the same typed [Error]
// at once, with one request to the endpoint for each pause.
//
// # The clock
//
// A token's age is counted from the moment before its request was sent, by the
// wall clock and by the monotonic clock, and the larger of the two counts. So
//
//   - after a suspend, in which the monotonic clock stands still, the wall clock
//     shows that the token is old, and it is fetched anew before it is used;
//   - a wall clock set forward by mistake costs one fetch, because it cannot be
//     told from a suspend;
//   - a wall clock set back does not make a token live longer: the monotonic
//     clock still ages it, and a jump of more than a minute causes one refresh
//     in the background;
//   - pauses are measured the same way, so no jump prolongs one.
//
// Calls that follow each other within a millisecond of running time share one
// look at both clocks, so a busy program may hand out a token for that long
// after it resumed, as it may have done just before it was suspended.
//
// The life of a token is expires_in, never its exp claim, so a clock that is
// simply wrong does no harm, except that certificate assertions carry the time.
// A server that sends no expires_in is taken to mean five minutes. No token is
// kept longer than 28 hours, the most that Entra issues.
//
// # What it does not do
//
// It does not look into tokens, validate them or check what they grant: that is
// the API's task. It does not store tokens outside the process's memory, and
// does not protect that memory. It refreshes only when somebody asks: a client
// that was idle for longer than a token lives waits for one fetch.
package tokenclient
