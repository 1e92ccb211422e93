package portal

import (
	"net/http"
	"slices"
)

// audience says who may open a page.
type audience int

const (
	managers  audience = iota // API managers
	owners                    // users with an account, managers included; they see what they own
	anybody                   // who is signed in
	newcomers                 // who is signed in, with or without an account here
)

// route is one page: what a GET shows and what a POST of its form does.
type route struct {
	path string // below the prefix, a pattern of http.ServeMux
	who  audience
	show action // nil: there is nothing to show
	send action // nil: nothing can be sent
}

// table is every page that needs a signed-in user. Paths below /my are the
// owner's, the others the manager's. What concerns a list and none of its objects
// is below /-/, because no ID is "-".
func (p *Portal) table() []route {
	return slices.Concat([]route{{"/{$}", anybody, p.showHome, nil}, {"/signedin", anybody, p.showSignedIn, nil}, {"/request-access", newcomers, p.showRequestAccess, p.sendRequestAccess}}, p.managerRoutes(), p.ownerRoutes())
}

func (p *Portal) managerRoutes() []route {
	return []route{
		{"/requests", managers, p.showRequests, nil},
		p.asks("/requests/-/many", managers, p.manyRequests),
		{"/requests/{request}", managers, p.showRequest, p.decideRequest},

		{"/products", managers, p.showProducts, nil},
		{"/products/-/new", managers, p.showNewProduct, p.createProduct},
		{"/products/-/export", managers, p.exportProducts, nil},
		p.asks("/products/-/many", managers, p.manyProducts),
		{"/products/{id}", managers, p.showProduct, nil},
		{"/products/{id}/properties", managers, p.showProductProperties, p.saveProduct},
		{"/products/{id}/permissions", managers, p.showProductPermissions, p.saveProductPermissions},
		{"/products/{id}/apis", managers, p.showProductAPIs, p.assignAPIs},
		{"/products/{id}/applications", managers, p.showProductApplications, p.grantApplications},
		{"/products/{id}/review", managers, p.showProductReview, nil},
		p.asks("/products/{id}/publish", managers, p.publishProduct),
		p.asks("/products/{id}/unpublish", managers, p.unpublishProduct),
		p.asks("/products/{id}/suspend", managers, p.suspendProduct),
		p.asks("/products/{id}/resume", managers, p.resumeProduct),
		p.asks("/products/{id}/delete", managers, p.deleteProduct),
		p.asks("/products/{id}/apis/{api}/unassign", managers, p.unassignAPI),
		p.asks("/products/{id}/applications/-/many", managers, p.manyGrants),
		p.asks("/products/{id}/applications/{application}/revoke", managers, p.revokeProduct),

		{"/applications", managers, p.showApplications, nil},
		{"/applications/-/new", managers, p.showNewApplication, p.registerApplication},
		{"/applications/-/export", managers, p.exportApplications, nil},
		p.asks("/applications/-/many", managers, p.manyApplications),
		{"/applications/{application}", managers, p.showApplication, p.saveApplication},
		{"/applications/{application}/products", managers, p.showApplicationProducts, p.grantProducts},
		{"/applications/{application}/credentials", managers, p.showCredentials, nil},
		{"/applications/{application}/credentials/new", managers, p.showNewKeyless, p.addKeyless},
		{"/applications/{application}/secrets/new", managers, p.showNewSecret, p.addSecret},
		{"/applications/{application}/review", managers, p.showApplicationReview, nil},
		{"/applications/{application}/transfer", managers, p.showTransfer, p.sendTransfer},
		p.asks("/applications/{application}/suspend", managers, p.suspendApplication),
		p.asks("/applications/{application}/resume", managers, p.resumeApplication),
		p.asks("/applications/{application}/delete", managers, p.deleteApplication),
		p.asks("/applications/{application}/products/{id}/revoke", managers, p.revokeProduct),
		p.asks("/applications/{application}/credentials/{credential}/remove", managers, p.removeCredential),

		{"/subscriptions", managers, p.showSubscriptions, nil},
		{"/subscriptions/-/new", managers, p.showNewSubscription, p.createSubscription},
		{"/subscriptions/-/export", managers, p.exportSubscriptions, nil},
		p.asks("/subscriptions/-/many", managers, p.manySubscriptions),
		{"/subscriptions/{subscription}", managers, p.showSubscription, p.saveSubscription},
		{"/subscriptions/{subscription}/transfer", managers, p.showTransfer, p.sendTransfer},
		p.asks("/subscriptions/{subscription}/activate", managers, p.activateSubscription),
		p.asks("/subscriptions/{subscription}/reject", managers, p.rejectSubscription),
		p.asks("/subscriptions/{subscription}/suspend", managers, p.suspendSubscription),
		p.asks("/subscriptions/{subscription}/cancel", managers, p.cancelSubscription),
		p.asks("/subscriptions/{subscription}/delete", managers, p.deleteSubscription),
		p.asks("/subscriptions/{subscription}/keys/{slot}/regenerate", managers, p.regenerateKey),

		{"/apis", managers, p.showAPIs, nil},
		{"/apis/-/new", managers, p.showNewAPI, p.createAPI},
		{"/apis/-/export", managers, p.exportAPIs, nil},
		{"/apis/{api}", managers, p.showAPI, p.saveAPI},
		{"/apis/{api}/docs", managers, p.showDocs, nil},
		{"/apis/{api}/docs/export", managers, p.downloadDocs, nil},
		{"/apis/{api}/operations", managers, p.showOperations, p.saveOperations},
		{"/apis/{api}/operations/-/new", managers, p.showNewOperation, p.addOperation},
		{"/apis/{api}/operations/{operation}", managers, p.showOperation, p.saveOperation},
		p.asks("/apis/{api}/operations/{operation}/remove", managers, p.removeOperation),
		p.asks("/apis/{api}/delete", managers, p.deleteAPI),

		{"/users", managers, p.showUsers, nil},
		{"/users/-/new", managers, p.showNewUser, p.createUser},
		{"/users/-/export", managers, p.exportUsers, nil},
		p.asks("/users/-/many", managers, p.manyUsers),
		{"/users/{user}", managers, p.showUser, p.saveUser},
		{"/users/{user}/account", managers, p.showAccount, p.linkAccount},
		{"/users/{user}/transfer", managers, p.showTransfer, p.sendTransfer},
		p.asks("/users/{user}/block", managers, p.blockUser),
		p.asks("/users/{user}/unblock", managers, p.unblockUser),
		p.asks("/users/{user}/delete", managers, p.deleteUser),

		{"/expiring", managers, p.showExpiring, nil},
		{"/expiring/export", managers, p.exportExpiring, nil},
		{"/notifications", managers, p.showNotifications, nil},
		{"/notifications/{notification}/redeliver", managers, nil, p.redeliver},
		{"/usage", managers, p.showUsage, nil},
		{"/usage/export", managers, p.exportUsage, nil},
		{"/applications/{application}/usage", managers, p.showUsage, nil},
		{"/applications/{application}/usage/export", managers, p.exportUsage, nil},
		{"/subscriptions/{subscription}/usage", managers, p.showUsage, nil},
		{"/subscriptions/{subscription}/usage/export", managers, p.exportUsage, nil},
		{"/apis/{api}/usage", managers, p.showUsage, nil},
		{"/apis/{api}/usage/export", managers, p.exportUsage, nil},
		{"/audit", managers, p.showAudit, nil},
		{"/audit/export", managers, p.exportAudit, nil},
		{"/audit/prune", managers, p.showPrune, p.pruneAudit},
		{"/configuration", managers, p.showConfiguration, p.importConfiguration},
		{"/configuration/export", managers, p.exportConfiguration, nil},
		{"/entra", managers, p.showEntra, nil},
		{"/entra/preview", managers, p.showPreview, nil},
		{"/entra/apply", managers, nil, p.applyNow},
		p.asks("/entra/unknown/remove", managers, p.removeUnknown),
		{"/entra/diagnosis", managers, p.showDiagnosis, nil},
	}
}

func (p *Portal) ownerRoutes() []route {
	return []route{
		{"/my/applications", owners, p.showMyApplications, nil},
		{"/my/applications/{application}", owners, p.showMyApplication, nil},
		{"/my/applications/{application}/secrets/new", owners, p.showNewSecret, p.addSecret},
		{"/my/applications/{application}/one-time-secrets/{secret}", owners, p.showOneTimeSecret, p.receiveSecret},
		{"/my/applications/{application}/credentials/new", owners, p.showNewKeyless, p.addKeyless},
		p.asks("/my/applications/{application}/credentials/{credential}/remove", owners, p.removeCredential),
		{"/my/applications/{application}/try", owners, p.showTry, p.sendTry},

		{"/my/subscriptions", owners, p.showMySubscriptions, nil},
		{"/my/subscriptions/{subscription}", owners, p.showMySubscription, nil},
		p.asks("/my/subscriptions/{subscription}/keys/{slot}/regenerate", owners, p.regenerateKey),
		p.asks("/my/subscriptions/{subscription}/cancel", owners, p.cancelSubscription),

		{"/my/applications/{application}/usage", owners, p.showUsage, nil},
		{"/my/applications/{application}/usage/export", owners, p.exportUsage, nil},
		{"/my/subscriptions/{subscription}/usage", owners, p.showUsage, nil},
		{"/my/subscriptions/{subscription}/usage/export", owners, p.exportUsage, nil},

		{"/my/applications/{application}/transfer", owners, p.showTransfer, p.sendTransfer},
		{"/my/subscriptions/{subscription}/transfer", owners, p.showTransfer, p.sendTransfer},
		{"/my/transfers", owners, p.showTransfers, nil},
		p.asks("/my/transfers/{transfer}/accept", owners, p.acceptTransfer),
		p.asks("/my/transfers/{transfer}/end", owners, p.endTransfer),
		{"/my/requests", owners, p.showRequests, nil},
		p.asks("/my/requests/{request}/withdraw", owners, p.withdrawRequest),
		{"/my/apis/{api}/docs", owners, p.showDocs, nil},
		{"/my/apis/{api}/docs/export", owners, p.downloadDocs, nil},
		{"/my/catalog", owners, p.showCatalog, nil},
		{"/my/catalog/{id}/request", owners, p.showAskProduct, p.sendAskProduct},
		{"/my/catalog/{id}/subscribe", owners, p.showSubscribe, p.subscribe},
	}
}

// routes is the mux of the table and of what needs no user.
func (p *Portal) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/", p.notFound)
	mux.HandleFunc("GET /assets/{name}", p.assets.serve)
	if s := p.signIn; s != nil {
		mux.HandleFunc("GET /signin", s.begin)
		mux.HandleFunc("GET /signin/callback", s.callback)
		mux.HandleFunc("POST /signout", s.signOut)
		mux.HandleFunc("GET /signedout", s.signedOut)
	}
	for _, r := range p.table() {
		if r.show != nil {
			mux.HandleFunc("GET "+r.path, p.admit(r.who, r.show))
		}
		if r.send != nil {
			mux.HandleFunc("POST "+r.path, p.admit(r.who, r.send))
		}
	}
	return mux
}
