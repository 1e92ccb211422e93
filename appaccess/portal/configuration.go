package portal

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

var configurationFields = []formField{{"document", "Document"}}

// configurationPage is where the configuration is taken along as a document, and
// brought.
type configurationPage struct {
	Form  form
	Shown bool
	Plan  []planLine // what an import would do
}

type planLine struct {
	appaccess.Difference
	At link
}

func (p *Portal) showConfiguration(rq *request) error {
	return p.configuration(rq, nil, form{Fields: configurationFields, Values: url.Values{}}, nil)
}

func (p *Portal) configuration(rq *request, cause error, f form, plan *[]appaccess.Difference) error {
	data := configurationPage{Form: f, Shown: plan != nil}
	if plan != nil {
		var all []appaccess.Ref
		for _, d := range *plan {
			all = append(all, appaccess.Ref{Kind: d.Kind, ID: d.ID})
		}
		book, err := p.namesOf(rq, all...)
		if err != nil {
			return err
		}
		for _, d := range *plan {
			data.Plan = append(data.Plan, planLine{d, book.Link(d.Kind, d.ID, d.ID)})
		}
	}
	var err error
	if data.Form.Once, err = p.once(rq); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "configuration", page{
		Title: "Configuration", Nav: "configuration", Lead: "APIs, products, users, applications and subscriptions as one document, for version control and for another tenant.", Data: data,
	})
}

// exportConfiguration sends the document. It holds no secret and no key.
func (p *Portal) exportConfiguration(rq *request) error {
	var document bytes.Buffer // a slow browser must not hold the store's transaction
	if err := p.service.Export(rq.Context(), rq.actor, &document); err != nil {
		return err
	}
	p.attach(rq, "configuration", "json", "application/json")
	_, _ = rq.w.Write(document.Bytes()) // the browser may be gone
	return nil
}

// importConfiguration shows first what a document would do, then does it. Keys
// that are made are shown once.
func (p *Portal) importConfiguration(rq *request) error {
	f := p.sent(rq, configurationFields)
	req := appaccess.ImportRequest{Prune: f.Has("prune", "yes")}
	document, err := appaccess.ParseDocument(strings.NewReader(f.Get("document")))
	if err == nil && f.Get("do") != "import" {
		var plan []appaccess.Difference
		for one, err1 := range p.service.Diff(rq.Context(), rq.actor, document, req) {
			if err = err1; err == nil {
				plan = append(plan, one)
			}
		}
		if err == nil {
			return p.configuration(rq, nil, f, &plan)
		}
	}
	if err == nil {
		err = p.oneTime(rq)
	}
	var report appaccess.ImportReport
	if err == nil {
		report, err = p.service.Import(rq.Context(), rq.actor, document, req)
	}
	if len(report.Subscriptions) > 0 { // whatever stopped the rest
		shown := shownPage{Note: "Copy them now and give them to their owners. Only hashes are kept here.", Back: p.path("configuration")}
		if err != nil {
			shown.Facts = []shownValue{{"Not everything was imported", p.explain(rq, err).Text}}
		}
		for _, made := range report.Subscriptions {
			for _, key := range []shownValue{{"Primary key of " + made.Subscription.Name, made.Primary.Reveal()}, {"Secondary key of " + made.Subscription.Name, made.Secondary.Reveal()}} {
				if key.Value != "" {
					shown.Values = append(shown.Values, key)
				}
			}
		}
		return p.show(rq, "shown", page{Title: "Imported: new subscription keys", Nav: "configuration", Crumbs: p.crumbs("Configuration", "configuration"), Data: shown})
	}
	if p.refuse(rq, &f, err) {
		return p.configuration(rq, err, f, nil)
	}
	return p.done(rq, err, fmt.Sprintf("Imported: %s changed.", countOf(len(report.Differences), "object", "objects")), p.path("configuration"), nil)
}
