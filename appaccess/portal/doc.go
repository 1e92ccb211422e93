// Package portal is the pages of the management plane: what API managers and
// developers see and do in a browser, over [appaccess.Service].
//
// [New] makes an [http.Handler] that a service mounts in its own mux. It
// renders on the server, carries its assets with it, loads nothing from other
// hosts and works without JavaScript.
//
// Who is asking comes from the host's own Authenticate function or from the
// ready sign-in with Microsoft Entra ([SignIn]). Every action is authorized by
// Service; the portal adds what a browser needs: protection against forged
// requests, a strict Content-Security-Policy, no caching, forms with a value
// that is shown once and not again by reload or back.
//
// One user may have six values at once that are shown once, and then one every
// 20 seconds; and twelve calls of the Try it box, then one every 3 seconds. Each
// process counts for itself.
//
// The portal does not end TLS, set Strict-Transport-Security, or limit
// requests at large: that is the host's.
package portal
