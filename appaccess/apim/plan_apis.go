package apim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

const (
	defaultKeyHeader = "Ocp-Apim-Subscription-Key"
	defaultKeyQuery  = "subscription-key"
)

// planAPIs carries the current revision of each API that speaks HTTP.
func (p *Plan) planAPIs() {
	byPath := map[string]*API{}
	for i := range p.instance.APIs {
		a := &p.instance.APIs[i]
		where := "apis/" + a.ID
		switch {
		case p.leftOut(where):
			continue
		case !a.Current:
			if a.Online {
				p.find(Breaks, "revision", where, "calls with ;rev="+a.Revision+" in the path reach this older revision",
					"such calls are refused", "ask its callers to use the current revision")
			}
			continue
		case a.Type == "grpc":
			p.find(Breaks, "api-type", where, "is a gRPC API", "is not imported", "put it behind a gate by hand")
			continue
		}
		path, ok := p.apiPath(a)
		if !ok {
			continue
		}
		if other := byPath[path]; other != nil {
			p.sharedPath(a, other, path)
			continue
		}
		byPath[path] = a
		p.addAPI(a, path)
	}
	byID(p.document.APIs, func(a *appaccess.DocumentAPI) string { return a.ID })
}

func (p *Plan) addAPI(a *API, path string) {
	where := "apis/" + a.ID
	id, name := p.apis.assign(a.ID), plainName(a.Name, a.ID)
	if a.Version != "" {
		name = plainText(name, maxName-len(a.Version)-1) + " " + a.Version // versions share one name
	}
	added := appaccess.DocumentAPI{
		ID: id, Name: p.apis.unused(name, id), Path: path,
		Description: plainText(a.Description, maxDescription), ServiceURL: p.serviceURL(a),
	}
	if path != strings.ToLower(path) {
		p.find(Info, "path-case", where, "the path has upper-case letters",
			"paths are compared with their letter case: "+path, "check in which case callers write it")
	}
	p.keyNames(a, &added)
	if !a.KeyRequired {
		p.find(Breaks, "anonymous-api", where, "calls without a key pass, whatever the API's products say",
			"calls need a credential of one of its products", "give callers a key, or serve the API outside the gate")
	}
	p.operations(a, &added)
	p.document.APIs = append(p.document.APIs, added)
}

// keyNames carries the names of an API's key. The usual ones are left out: a gate
// has them by itself.
func (p *Plan) keyNames(a *API, into *appaccess.DocumentAPI) {
	header, query := a.KeyHeader, a.KeyQuery
	if strings.EqualFold(header, defaultKeyHeader) {
		header = ""
	}
	if strings.EqualFold(query, defaultKeyQuery) {
		query = ""
	}
	if err := appaccess.CheckKeyNames(header, query); err != nil {
		p.find(Breaks, "key-names", "apis/"+a.ID, fmt.Sprintf("keys are sent in header %s or query parameter %s", a.KeyHeader, a.KeyQuery),
			"keys are read where the gate's KeyHeader and KeyQuery say: "+err.Error(), "ask callers to change")
		return
	}
	into.KeyHeader, into.KeyQuery = header, query
}

// apiPath is the path at which callers reach the API. Versions by path are part
// of it.
func (p *Plan) apiPath(a *API) (string, bool) {
	path := strings.Trim(a.Path, "/")
	if v := p.instance.versionSet(a.VersionSet); a.VersionSet != "" && a.Version != "" {
		switch {
		case v == nil:
			p.find(Breaks, "version-set", "apis/"+a.ID, "belongs to version set "+a.VersionSet+", which is not in the source",
				"is not imported", "add the version set to the source")
			return "", false
		case v.Scheme == "Segment":
			path = strings.Trim(path+"/"+a.Version, "/")
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		bad := strings.ContainsFunc(segment, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~", r))
		})
		if bad || segment == "." || segment == ".." || segment == "" && path != "" {
			p.find(Breaks, "path", "apis/"+a.ID, fmt.Sprintf("has the path %q", a.Path),
				"is not imported: segments hold letters, digits and -._~ only", "choose another path")
			return "", false
		}
	}
	return "/" + path, true
}

// sharedPath handles several current APIs at one path: versions that callers
// choose by header or query parameter. entragate has one API a path.
func (p *Plan) sharedPath(a, first *API, path string) {
	set := p.instance.versionSet(a.VersionSet)
	if set == nil || !strings.EqualFold(a.VersionSet, first.VersionSet) {
		p.find(Breaks, "same-path", "apis/"+a.ID, "has the same path as apis/"+first.ID,
			"is not imported: "+path+" belongs to apis/"+first.ID, "choose another path for one of the two")
		return
	}
	p.merged[strings.ToLower(a.ID)] = first.ID
	choice := fmt.Sprintf("%s %q", strings.ToLower(set.Scheme), set.Parameter)
	if a.ServiceURL != first.ServiceURL {
		p.find(Breaks, "merged-backend", "apis/"+a.ID, "callers choose this version by "+choice+"; it has a backend of its own",
			"calls go to the backend of apis/"+first.ID, "let the backend choose by "+choice)
	}
	if !strings.EqualFold(a.KeyHeader, first.KeyHeader) || !strings.EqualFold(a.KeyQuery, first.KeyQuery) {
		p.find(Breaks, "merged-keys", "apis/"+a.ID, fmt.Sprintf("keys of this version are sent in header %s or query parameter %s", a.KeyHeader, a.KeyQuery),
			"keys are read where apis/"+first.ID+" has them", "ask callers to change")
	}
	mine, theirs := p.instance.productsOf(a.ID), p.instance.productsOf(first.ID)
	if !slices.Equal(mine, theirs) {
		p.find(Opens, "merged-products", "apis/"+a.ID,
			fmt.Sprintf("this version belongs to %s, apis/%s to %s", products(mine), first.ID, products(theirs)),
			"the versions are one API that belongs to all these products: their callers reach every version",
			"let the backend tell the versions' callers apart, or give the versions paths of their own")
		return
	}
	p.find(Info, "merged", "apis/"+a.ID, "callers choose this version by "+choice,
		"it is one API with apis/"+first.ID, "nothing: the backend sees "+choice+" as before")
}

func products(ids []string) string {
	if len(ids) == 0 {
		return "no product"
	}
	return "products " + strings.Join(ids, ", ")
}

// productsOf are the products that group an API, sorted.
func (in *Instance) productsOf(api string) []string {
	var list []string
	for _, p := range in.Products {
		if slices.ContainsFunc(p.APIs, func(id string) bool { return strings.EqualFold(id, api) }) {
			list = append(list, p.ID)
		}
	}
	slices.Sort(list)
	return list
}

// apiID is the entragate ID of an API or of the one that it became part of.
func (p *Plan) apiID(old string) (string, bool) {
	if first, ok := p.merged[strings.ToLower(old)]; ok {
		old = first
	}
	return p.apis.get(old)
}

func (p *Plan) serviceURL(a *API) string {
	url := a.ServiceURL
	if rest, ok := strings.CutPrefix(url, "wss://"); ok {
		url = "https://" + rest
	} else if rest, ok := strings.CutPrefix(url, "ws://"); ok {
		url = "http://" + rest
	}
	if url == "" {
		p.find(Info, "no-backend", "apis/"+a.ID, "has no backend address", "a gateway cannot reach it",
			"set serviceUrl, unless the service itself is behind the gate")
		return ""
	}
	if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") || strings.ContainsAny(url, "?#@{") {
		p.find(Breaks, "backend", "apis/"+a.ID, "has the backend address "+url,
			"the address is left out: entragate takes absolute http and https addresses", "set serviceUrl by hand")
		return ""
	}
	return url
}

// operations lists an API's operations, so that they can be enforced, and reports
// what API Management refuses and a gate passes on. They are not enforced: the
// service may answer more.
func (p *Plan) operations(a *API, into *appaccess.DocumentAPI) {
	where := "apis/" + a.ID
	used := map[string]bool{}
	left := 0
	for _, o := range a.Operations {
		path, _, _ := strings.Cut(o.Template, "?") // callers may send the query or not
		operation := appaccess.Operation{ID: o.ID, Method: strings.ToUpper(o.Method), Path: path, Summary: plainText(o.Name, maxName), ByHand: true}
		key := operation.String()
		switch {
		case o.Method == "*" || strings.Contains(path, "*"), used[key], !listable(operation):
			left++
		default:
			used[key] = true
			into.Operations = append(into.Operations, operation)
		}
	}
	if len(a.Operations) == 0 || slices.ContainsFunc(a.Operations, func(o Operation) bool { return o.Method == "*" && o.Template == "/*" }) {
		return
	}
	then := fmt.Sprintf("%d of them are listed and not enforced: every path below the API reaches the service, whose own router decides", len(a.Operations)-left)
	p.find(Info, "operations", where, fmt.Sprintf("answers 404 to calls that match none of its %d operations", len(a.Operations)), then,
		"set enforcement, in the portal or in the document, if the service has routes that must stay hidden; another import keeps it")
}

// listable reports whether a document takes an operation.
func listable(o appaccess.Operation) bool {
	d := appaccess.Document{Version: 1, APIs: []appaccess.DocumentAPI{{ID: "a", Name: "a", Path: "/a", Operations: []appaccess.Operation{o}}}}
	var text strings.Builder
	if d.Write(&text) != nil {
		return false
	}
	_, err := appaccess.ParseDocument(strings.NewReader(text.String()))
	return err == nil && appaccess.CheckOperations([]appaccess.Operation{o}) == nil
}
