package portal

import "net/http"

// routes are all pages. Paths below /my are the owner's, the others the
// manager's.
func (p *Portal) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/", p.notFound)
	mux.HandleFunc("GET /assets/{name}", p.assets.serve)
	mux.HandleFunc("GET /{$}", p.signedIn(p.home))
	if s := p.signIn; s != nil {
		mux.HandleFunc("GET /signin", s.begin)
		mux.HandleFunc("GET /signin/callback", s.callback)
		mux.HandleFunc("POST /signout", s.signOut)
		mux.HandleFunc("GET /signedout", s.signedOut)
	}
	for pattern, do := range p.managerPages() {
		mux.HandleFunc(pattern, p.manager(do))
	}
	for pattern, do := range p.ownerPages() {
		mux.HandleFunc(pattern, p.owner(do))
	}
	return mux
}

func (p *Portal) managerPages() map[string]action {
	return map[string]action{
		"GET /products":                           p.productList,
		"GET /products/new":                       p.productNew,
		"POST /products/new":                      p.productCreate,
		"GET /products/{id}":                      p.productOverview,
		"POST /products/{id}/state":               p.productState,
		"GET /products/{id}/properties":           p.productProperties,
		"POST /products/{id}/properties":          p.productSave,
		"GET /products/{id}/apis":                 p.productAPIs,
		"POST /products/{id}/apis":                p.productAssign,
		"GET /products/{id}/applications":         p.productApplications,
		"POST /products/{id}/applications":        p.productLink,
		"GET /products/{id}/review":               p.productReview,
		"GET /products/{id}/delete":               p.productDelete,
		"POST /products/{id}/delete":              p.productDeleted,
		"GET /applications":                       p.applicationList,
		"GET /applications/new":                   p.applicationNew,
		"POST /applications/new":                  p.applicationRegister,
		"GET /applications/{id}":                  p.applicationOverview,
		"POST /applications/{id}":                 p.applicationSave,
		"POST /applications/{id}/state":           p.applicationState,
		"GET /applications/{id}/products":         p.applicationProducts,
		"POST /applications/{id}/products":        p.applicationGrant,
		"GET /applications/{id}/credentials":      p.applicationCredentials,
		"POST /applications/{id}/credentials":     p.credentialRemove,
		"GET /applications/{id}/credentials/new":  p.keylessNew,
		"POST /applications/{id}/credentials/new": p.keylessAdd,
		"GET /applications/{id}/secrets/new":      p.secretNew,
		"POST /applications/{id}/secrets/new":     p.secretGenerate,
		"GET /applications/{id}/review":           p.applicationReview,
		"GET /applications/{id}/delete":           p.applicationDelete,
		"POST /applications/{id}/delete":          p.applicationDeleted,
		"GET /subscriptions":                      p.subscriptionList,
		"GET /subscriptions/new":                  p.subscriptionNew,
		"POST /subscriptions/new":                 p.subscriptionCreate,
		"GET /subscriptions/{id}":                 p.subscriptionDetails,
		"POST /subscriptions/{id}":                p.subscriptionSave,
		"POST /subscriptions/{id}/state":          p.subscriptionState,
		"POST /subscriptions/{id}/keys":           p.subscriptionKey,
		"GET /subscriptions/{id}/delete":          p.subscriptionDelete,
		"POST /subscriptions/{id}/delete":         p.subscriptionDeleted,
		"GET /apis":                               p.apiList,
		"GET /apis/new":                           p.apiNew,
		"POST /apis/new":                          p.apiCreate,
		"GET /apis/{id}":                          p.apiDetails,
		"POST /apis/{id}":                         p.apiSave,
		"GET /apis/{id}/delete":                   p.apiDelete,
		"POST /apis/{id}/delete":                  p.apiDeleted,
		"GET /users":                              p.userList,
		"GET /users/new":                          p.userNew,
		"POST /users/new":                         p.userCreate,
		"GET /users/{id}":                         p.userDetails,
		"POST /users/{id}":                        p.userSave,
		"POST /users/{id}/state":                  p.userState,
		"POST /users/{id}/account":                p.userBind,
		"GET /users/{id}/delete":                  p.userDelete,
		"POST /users/{id}/delete":                 p.userDeleted,
		"GET /audit":                              p.auditTrail,
		"GET /audit/export":                       p.auditExport,
		"GET /entra":                              p.entraState,
		"GET /entra/preview":                      p.entraPreview,
		"POST /entra/apply":                       p.entraApply,
		"GET /entra/diagnosis":                    p.entraDiagnosis,
	}
}

func (p *Portal) ownerPages() map[string]action {
	return map[string]action{
		"GET /my/applications":                            p.myApplications,
		"GET /my/applications/{id}":                       p.myApplication,
		"GET /my/applications/{id}/secrets/new":           p.mySecretNew,
		"POST /my/applications/{id}/secrets/new":          p.mySecretGenerate,
		"GET /my/applications/{id}/handovers/{handover}":  p.myHandover,
		"POST /my/applications/{id}/handovers/{handover}": p.myReceive,
		"POST /my/applications/{id}/credentials":          p.myCredentialRemove,
		"GET /my/applications/{id}/credentials/new":       p.myKeylessNew,
		"POST /my/applications/{id}/credentials/new":      p.myKeylessAdd,
		"GET /my/applications/{id}/try":                   p.myTry,
		"POST /my/applications/{id}/try":                  p.myTried,
		"GET /my/subscriptions":                           p.mySubscriptions,
		"GET /my/subscriptions/{id}":                      p.mySubscription,
		"POST /my/subscriptions/{id}/keys":                p.mySubscriptionKey,
		"POST /my/subscriptions/{id}/cancel":              p.mySubscriptionCancel,
		"GET /my/catalog":                                 p.myCatalog,
		"GET /my/catalog/{id}/subscribe":                  p.mySubscribe,
		"POST /my/catalog/{id}/subscribe":                 p.mySubscribed,
	}
}
