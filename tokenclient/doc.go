// Package tokenclient gets OAuth 2.0 access tokens with the client-credentials
// grant, keeps them in memory, and refreshes them before they expire. It works with
// Entra and with other OAuth 2.0 servers.
//
// # Which function to use
//
//   - [New] makes a [Client] from a [Config]. Make one Client for each client
//     application and keep it. [FromEnvironment] reads the Config from Azure's
//     environment variables.
//   - [Client.Source] returns the token source of one scope.
//   - [Source.Client] returns an http.Client that sends the token to the hosts that
//     you name. It has no timeout: set one. [NewTransport] is the same with more
//     options.
//   - [CheckResponse] turns an API's 401 or 403 into an error with advice.
//   - [Source.Token] returns the token itself, for everything else. [Source.OAuth2]
//     and [PerRPC] adapt a Source to golang.org/x/oauth2 and to gRPC.
//
// # What it does
//
// A call with a fresh token costs one atomic read and one reading of the clock, no
// lock and no allocation. When the token has reached the age refresh_in, or
// without refresh_in a random age of 60 to 75 % of its life, the next call starts
// a refresh in the background and still returns the old token. All callers share
// one fetch. A caller waits until its own context ends; the fetch continues for
// the others. Nothing is requested before the first call.
//
// After a failed fetch the client pauses: all its scopes, or only one scope if the
// error concerns only that scope. The pauses grow up to 30 seconds. A pause is
// never shorter than Retry-After, of which at most an hour is used. While a valid
// token is left, Token returns it without an error. When none is left, Token
// waits for the next attempt after each of the first two retryable failures, if
// the pause is at most 2 seconds and the caller's deadline is later. From the third
// failure on, Token returns the same [*Error] at once, and the client makes one
// request in each pause. A client runs at most 8 fetches at once, even with many
// scopes.
//
// # Hostile and broken surroundings
//
//   - No error, cause of an error or log record holds the credential, an assertion
//     or the query of Config.TokenURL, even if the endpoint sends them back in a
//     malformed status line or header, percent-encoded or quoted. A text that
//     repeats them in another form (base64 of a part, reversed) is not recognised.
//   - A token answer is refused if a member occurs twice or expires_in is not a
//     whole number of seconds.
//   - Answers, header fields and challenges are read up to a limit.
//   - If a function of a credential panics, the call that needed it fails. If
//     Config.Logger, Config.MeterProvider, Config.TracerProvider or
//     Config.OnExpiring panics, the panic is logged if possible, and the token is
//     still returned.
//   - Config.Timeout also ends the wait for a credential file on a mount that hangs,
//     and for a function that ignores its context.
//   - If a credential cannot be read, it is read once more after a quarter of a
//     second: a vault may be busy, and a file may just be replaced.
//
// # The clock
//
// A token's age is counted from the moment before its request was sent, by the
// wall clock and by the monotonic clock. The larger age counts. So
//
//   - after a suspend, during which the monotonic clock stops, the wall clock shows
//     that the token is old, and the token is fetched again before it is used;
//   - a wall clock that is set forward by mistake causes one fetch, because that
//     cannot be distinguished from a suspend;
//   - a wall clock that is set back does not make a token live longer: the
//     monotonic clock still counts, and a jump of more than a minute causes one
//     refresh in the background;
//   - pauses are measured in the same way, so that no jump prolongs a pause.
//
// Within a millisecond, calls share one check of both clocks. So a busy program can
// use an expired token for up to a millisecond after it resumes.
//
// The life of a token is expires_in, never its exp claim. So a wrong clock does no
// harm, except that the assertions of certificates carry the time. If a server sends
// no expires_in, the life is five minutes. No token is kept longer than 28 hours,
// the longest life that Entra issues.
//
// # Telemetry
//
// Config.Logger receives one record for each attempt at the token endpoint: two for
// a fetch that tries the Fallback, none for a token from memory. Each record has the
// keys client_id, credential (its description, never its value) and took (a
// duration), and:
//
//   - Info "token fetched": token.scope, token.expires (a time) and refresh_in (a
//     duration), the age at which the token is refreshed.
//   - Warn "no token": error.scope, error.retryable (a bool) and, as far as they are
//     known, error.status, error.code, error.aadsts, error.description,
//     error.correlation_id, error.retry_after (a duration), error.advice and
//     error.cause: see [Error].
//
// Config.MeterProvider receives, under the instrumentation scope
// github.com/entragate/entragate/tokenclient:
//
//   - entragate.tokenclient.fetches, a counter of these attempts, unit {request}.
//   - entragate.tokenclient.fetch.duration, a histogram of the time of an attempt
//     including reading the credential, unit s.
//   - entragate.tokenclient.token.age, a gauge of the age of the current token, unit
//     s. It is not reported for a scope without a token, and not after
//     [Client.Close]. An age above the life of a token, about an hour, means that no
//     call needs the token or that fetches fail.
//
// All have the attributes entragate.client_id and entragate.scope. The first two
// have entragate.outcome: ok, a known OAuth 2.0 error code, otherwise the HTTP
// status, credential if the credential could not be read, or transport if there was
// no answer. The first also has entragate.aadsts, Entra's error number, if [Error]
// has advice for it.
//
// Config.TracerProvider receives one span for each attempt,
// entragate.tokenclient.fetch, with entragate.client_id, entragate.scope and
// entragate.outcome. The span has no parent, because many callers wait for one
// attempt.
//
// # What it does not do
//
// It does not read or validate tokens and does not check what they grant: that is
// the API's task. It does not store tokens outside the process's memory, and does
// not protect that memory. It refreshes a token only during a call: after an idle
// time longer than a token's life, the next call waits for a fetch.
package tokenclient
