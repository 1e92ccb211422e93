package appaccess

import (
	"errors"
	"fmt"
	"slices"
)

// These checks find the mistakes in a document's objects that need no store.

func (v *DocumentAPI) check() error {
	return firstError(checkID("id", v.ID), checkAPI(v.api()), v.checkOperations())
}

// checkOperations checks operations as a document lists them.
func (v *DocumentAPI) checkOperations() error {
	if v.Operations == nil && v.Enforcement != "" {
		return &InvalidError{"enforcement", "needs the operations in the document, too"}
	}
	if len(v.Operations) > maxOperations {
		return &InvalidError{"operations", fmt.Sprintf("an API has at most %d", maxOperations)}
	}
	v.Operations = slices.Clone(v.Operations) // the caller's must not change
	used := map[string]bool{}
	for i := range v.Operations {
		o := &v.Operations[i]
		anyOf, err := checkAnyOf("anyOf", o.AnyOf)
		declared, err2 := checkAnyOf("declared", o.Declared)
		if err := firstError(checkID("id", o.ID), err, err2, checkText("summary", o.Summary, 0, maxName)); err != nil {
			return at("operations", i, err)
		}
		if used[o.ID] {
			return at("operations", i, &InvalidError{"id", fmt.Sprintf("%q is there twice", o.ID)})
		}
		used[o.ID], o.AnyOf, o.Declared = true, anyOf, declared
	}
	if v.Enforcement != "" && v.Enforcement != showInDocument && v.Enforcement != ReportOperations && v.Enforcement != EnforceOperations {
		return &InvalidError{"enforcement", `must be "show", "report" or "enforce"; without it the API keeps its own`}
	}
	return v.api().enforceable()
}

func (v *DocumentAPI) api() *API {
	a := &API{
		ID: v.ID, Name: v.Name, Path: v.Path, Description: v.Description, ServiceURL: v.ServiceURL,
		AllowEncodedSlash: v.AllowEncodedSlash, KeyHeader: v.KeyHeader, KeyQuery: v.KeyQuery, Operations: v.Operations, Enforcement: v.Enforcement,
	}
	if a.Enforcement == showInDocument {
		a.Enforcement = ShowOperations
	}
	return a
}

func (v *DocumentProduct) check() error {
	p := Product{Name: v.Name, Description: v.Description, SelfService: v.SelfService, PerDeveloper: v.PerDeveloper}
	adopt, err := checkAdopt(v.Adopt)
	if adopt != "" && !v.Access.Token {
		err = &InvalidError{"adopt", "needs token access"}
	}
	v.Adopt = adopt
	return firstError(checkID("id", v.ID), checkProduct(&p), checkIDs("apis", v.APIs, 0, maxProductAPIs), checkPermissions(v.Permissions), err)
}

func (v *DocumentUser) check() error {
	err := firstError(checkID("id", v.ID), checkText("name", v.Name, 1, maxName), checkEmail(v.Email))
	if err != nil || v.TenantID == "" && v.ObjectID == "" {
		return err
	}
	tid, err1 := checkGUID("tenantId", v.TenantID)
	oid, err2 := checkGUID("objectId", v.ObjectID)
	v.TenantID, v.ObjectID = tid, oid
	return firstError(err1, err2)
}

func (v *DocumentApplication) check() error {
	a := ClientApplication{Name: v.Name, Description: v.Description, OwnerID: v.OwnerID}
	adopt, err1 := checkAdopt(v.Adopt)
	grants, err2 := checkGrants(v.Grants, 0)
	principal, err3 := checkServicePrincipal(v.ServicePrincipal, adopt)
	if err := firstError(checkID("id", v.ID), checkApplication(&a), err1, err2, err3); err != nil {
		return err
	}
	v.Adopt, v.Grants, v.ServicePrincipal = adopt, grants, principal
	return nil
}

func (v *DocumentSubscription) check() error {
	sub := Subscription{Name: v.Name, OwnerID: v.OwnerID, Scope: v.Scope}
	v.Expires = storedTime(v.Expires)
	if _, known := next[v.State]; !known && v.State != SubscriptionRejected && v.State != SubscriptionCancelled {
		return &InvalidError{"state", "must be submitted, active, suspended, rejected, cancelled or expired"}
	}
	return firstError(checkID("id", v.ID), checkSubscription(&sub, v.Expires), broughtKeys(v.PrimaryHash, v.SecondaryHash).check())
}

// at adds the section and the entry to an error.
func at(section string, i int, err error) error {
	return within(fmt.Sprintf("%s[%d]", section, i), err)
}

func within(place string, err error) error {
	var invalid *InvalidError
	var conflict *ConflictError
	switch {
	case errors.As(err, &invalid):
		return &InvalidError{place + "." + invalid.Field, invalid.Rule}
	case errors.As(err, &conflict):
		return &ConflictError{place + "." + conflict.Field, conflict.Reason, conflict.Objects}
	}
	return err
}
