// Package tokenclient gets OAuth 2.0 access tokens with the client-credentials
// grant and keeps them ready, so that a program never thinks about tokens.
//
// # Which function to use
//
//   - [New] with a [Config] makes a [Client]: one for each client application.
//   - [Client.Source] gives the token source of one scope.
//   - [Source.Client] gives an http.Client that sends the token to the hosts you
//     name. [NewTransport] is the same with more choice.
//     The http.Client has no timeout: set one.
//   - [CheckResponse] makes an API's 401 or 403 readable.
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
// A failure makes the whole client pause, or only the scope if nothing else is
// wrong: longer each time up to 30 seconds and never shorter than Retry-After,
// of which an hour at most counts. While a valid token is there nobody notices.
// When none is left the first two failures that a retry may mend are waited out
// by callers whose deadline allows it, unless the pause is longer than 2
// seconds. From then on every caller gets the same typed [Error] at once, with
// one request to the endpoint for each pause. Nothing is asked for before
// somebody calls.
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
// # Telemetry
//
// Config.Logger gets one record for each attempt at the token endpoint: two for
// a fetch that tries the Fallback, none for a token that was kept. Each has the
// keys client_id, credential (which one, never its value) and took (a duration).
// Besides:
//
//   - Info "token fetched" has token.scope, token.expires (a time) and
//     refresh_in (a duration), the age from which on the token is refreshed.
//   - Warn "no token" has error.scope, error.retryable (a bool) and, as far as
//     they are known, error.status, error.code, error.aadsts, error.description,
//     error.correlation_id, error.retry_after (a duration), error.advice and
//     error.cause: see [Error].
//
// Config.MeterProvider gets, under the instrumentation scope
// github.com/entragate/entragate/tokenclient:
//
//   - entragate.tokenclient.fetches, a counter of these attempts, unit {request}.
//   - entragate.tokenclient.fetch.duration, a histogram of the time that one
//     takes together with reading the credential, unit s.
//   - entragate.tokenclient.token.age, a gauge of the age of the token that is
//     kept, unit s. A scope that never had one is absent, and so is a client
//     after [Client.Close]. An age above the tokens' life, about an hour, means
//     that nobody asks or that there are no new ones.
//
// All have the attributes entragate.client_id and entragate.scope. The first two
// have entragate.outcome: ok, an OAuth 2.0 error code, the HTTP status where
// there was no known code, credential if our own could not be read, or transport
// if there was no answer. The first also has entragate.aadsts, Entra's number,
// if it is one for which [Error] has advice.
//
// # What it does not do
//
// It does not look into tokens, validate them or check what they grant: that is
// the API's task. It does not store tokens outside the process's memory, and
// does not protect that memory. It refreshes only when somebody asks: a client
// that was idle for longer than a token lives waits for one fetch.
package tokenclient
