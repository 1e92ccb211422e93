package main

import (
	_ "embed"
	"encoding/json"
	"maps"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// outputVersion changes when a member of the JSON output changes its meaning or
// goes away.
const outputVersion = 1

//go:embed output.schema.json
var outputSchema string

// planOutput is what plan -json prints.
type planOutput struct {
	Version int                    `json:"version"`
	Hash    string                 `json:"hash"`
	Changes bool                   `json:"changes"`
	Store   []appaccess.Difference `json:"store"`
	Entra   []appaccess.Step       `json:"entra"`
	Unknown appaccess.Unknown      `json:"unknown"`
	Failed  []objectError          `json:"failed"`
}

type objectError struct {
	Object string `json:"object"`
	Error  string `json:"error"`
}

// applyOutput is what apply -json prints.
type applyOutput struct {
	Version            int                 `json:"version"`
	Plan               planOutput          `json:"plan"`
	InSync             int                 `json:"inSync"`
	Unconfirmed        int                 `json:"unconfirmed"`
	UnseenKeys         []unseenKey         `json:"unseenKeys"`
	MissingCredentials []missingCredential `json:"missingCredentials"`
	Unplanned          []string            `json:"unplanned"`
	Error              string              `json:"error,omitempty"`
}

type unseenKey struct {
	Subscription string            `json:"subscription"`
	Key          appaccess.KeySlot `json:"key"`
}

type missingCredential struct {
	Application string `json:"application"`
	Credential  string `json:"credential"`
	KeyID       string `json:"keyId"`
}

// driftOutput is what drift -json prints.
type driftOutput struct {
	Version int                    `json:"version"`
	Changes bool                   `json:"changes"`
	Store   []appaccess.Difference `json:"store"`
	Entra   []appaccess.Step       `json:"entra"`
	Unknown appaccess.Unknown      `json:"unknown"`
}

func newPlanOutput(plan appaccess.DocumentPlan) planOutput {
	out := planOutput{Version: outputVersion, Hash: plan.Hash(), Changes: !plan.Empty(), Store: plan.Store, Entra: plan.Entra.Steps, Unknown: plan.Entra.Unknown}
	for _, object := range slices.Sorted(maps.Keys(plan.Entra.Failed)) {
		out.Failed = append(out.Failed, objectError{object, plan.Entra.Failed[object].Error()})
	}
	return out
}

func newApplyOutput(r appaccess.ApplyReport, failed error) applyOutput {
	out := applyOutput{
		Version: outputVersion, Plan: newPlanOutput(r.Plan), InSync: r.Sync.Objects, Unconfirmed: r.Sync.Unconfirmed,
		UnseenKeys: unseenKeys(r), Unplanned: r.Unplanned,
	}
	for _, id := range slices.Sorted(maps.Keys(r.Sync.MissingInEntra)) {
		for _, c := range r.Sync.MissingInEntra[id] {
			out.MissingCredentials = append(out.MissingCredentials, missingCredential{id, c.ID, c.KeyID})
		}
	}
	if failed != nil {
		out.Error = failed.Error()
	}
	return out
}

// unseenKeys names the keys that apply generated. Their values are not printed: a
// pipeline keeps its output.
func unseenKeys(r appaccess.ApplyReport) []unseenKey {
	var keys []unseenKey
	for _, made := range r.Subscriptions {
		if !made.Primary.IsZero() {
			keys = append(keys, unseenKey{made.Subscription.ID, appaccess.PrimaryKey})
		}
		if !made.Secondary.IsZero() {
			keys = append(keys, unseenKey{made.Subscription.ID, appaccess.SecondaryKey})
		}
	}
	return keys
}

// printJSON prints a value, with [] in place of null.
func (p *program) printJSON(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var generic any
	if err := json.Unmarshal(raw, &generic); err != nil {
		return err
	}
	enc := json.NewEncoder(p.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(withoutNull(generic))
}

// withoutNull replaces each null by an empty list: only lists are null here.
func withoutNull(v any) any {
	switch v := v.(type) {
	case nil:
		return []any{}
	case []any:
		for i := range v {
			v[i] = withoutNull(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = withoutNull(v[k])
		}
	}
	return v
}
