package entratest

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/entragate/entragate/provision/internal/metadata"
)

// setApplication sets what a request names, in a clone that the caller made;
// old is what stood before, nil on creation. It checks every rule before
// anything is stored.
func (t *Tenant) setApplication(a, old *application, props map[string]json.RawMessage) *graphError {
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if strings.HasPrefix(name, "@odata") {
			continue
		}
		set, ok := applicationSetters[name]
		if !ok {
			set = inertSetter(name)
		}
		if failed := set(t, a, props[name]); failed != nil {
			return failed
		}
	}
	if failed := t.checkURIs(a, old); failed != nil {
		return failed
	}
	if old != nil {
		if failed := checkRoleChange(old.AppRoles, a.AppRoles); failed != nil {
			return failed
		}
	}
	return checkSize(a)
}

// inert are properties that are stored as they are given and have no effect here.
var inert = []string{"spa", "publicClient", "info", "isFallbackPublicClient", "isDeviceOnlyAuthSupported",
	"groupMembershipClaims", "serviceManagementReference", "servicePrincipalLockConfiguration"}

// inertSetter stores an inert property. A property that Graph has and that is not
// imitated is 501; one that Graph does not have is 400.
func inertSetter(name string) applicationSetter {
	return func(_ *Tenant, a *application, raw json.RawMessage) *graphError {
		p, ok := metadata.Graph().Property("application", name)
		switch {
		case !ok:
			return bad("Property '%s' does not exist as a declared property or extension property.", name).about("InvalidProperty", name)
		case !slices.Contains(inert, name):
			return unknown("the property '%s' of an application", name)
		}
		var v any
		if json.Unmarshal(raw, &v) != nil || len(metadata.Graph().Check("application", map[string]any{name: v}, false)) > 0 {
			return invalid(name, "Application")
		}
		if a.inert = maps.Clone(a.inert); a.inert == nil {
			a.inert = map[string]json.RawMessage{}
		}
		if metadata.Graph().Type(p.Type) != nil && v != nil { // a complex property is merged
			var had, given entity
			if old := a.inert[name]; old != nil {
				mustDecode(old, &had)
			}
			mustDecode(raw, &given)
			if had == nil {
				had = entity{}
			}
			maps.Copy(had, given)
			raw = mustEncode(shape(p.Type, had))
		}
		a.inert[name] = raw
		return nil
	}
}

func invalid(property, resource string) *graphError {
	return bad("Invalid value specified for property '%s' of resource '%s'.", property, resource).about("InvalidValue", property)
}

func tooLong(property, resource string) *graphError {
	return bad("Invalid value specified for property '%s' of resource '%s'.", property, resource).about("InvalidLength", property)
}

type applicationSetter = func(t *Tenant, a *application, raw json.RawMessage) *graphError

var applicationSetters map[string]applicationSetter

func init() { // not in the declaration: the setters refer to each other's helpers
	applicationSetters = map[string]applicationSetter{
		"displayName":            setDisplayName,
		"uniqueName":             setUniqueName,
		"signInAudience":         setSignInAudience,
		"identifierUris":         plain("identifierUris", func(a *application, v []string) { a.IdentifierURIs = v }),
		"tags":                   setTags,
		"api":                    setAPI,
		"appRoles":               setRoles,
		"requiredResourceAccess": setRequiredAccess,
		"optionalClaims":         plain("optionalClaims", func(a *application, v *optionalClaims) { a.OptionalClaims = v }),
		"keyCredentials":         setKeys,
		"passwordCredentials":    refusePasswords,
		"web":                    setWeb,
		"description":            limited("description", 1024, func(a *application, v *string) { a.Description = v }),
		"notes":                  limited("notes", 1024, func(a *application, v *string) { a.Notes = v }),
		"isDisabled":             plain("isDisabled", func(a *application, v *bool) { a.IsDisabled = v }),
		"createdByAppId":         readOnly("createdByAppId"),
		"id":                     readOnly("id"),
		"appId":                  readOnly("appId"),
		"createdDateTime":        readOnly("createdDateTime"),
		"deletedDateTime":        readOnly("deletedDateTime"),
		"publisherDomain":        readOnly("publisherDomain"),
	}
}

// plain decodes a value and sets it.
func plain[V any](name string, set func(*application, V)) applicationSetter {
	return func(_ *Tenant, a *application, raw json.RawMessage) *graphError {
		var v V
		if json.Unmarshal(raw, &v) != nil {
			return invalid(name, "Application")
		}
		set(a, v)
		return nil
	}
}

func limited(name string, most int, set func(*application, *string)) applicationSetter {
	return func(_ *Tenant, a *application, raw json.RawMessage) *graphError {
		var v *string
		if json.Unmarshal(raw, &v) != nil {
			return invalid(name, "Application")
		}
		if v != nil && utf8.RuneCountInString(*v) > most {
			return tooLong(name, "Application")
		}
		set(a, v)
		return nil
	}
}

func readOnly(name string) applicationSetter {
	return func(*Tenant, *application, json.RawMessage) *graphError {
		return bad("Property '%s' is read-only and cannot be set.", name).about("ReadOnly", name)
	}
}

func setDisplayName(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	var v string
	if json.Unmarshal(raw, &v) != nil || v == "" {
		return invalid("displayName", "Application")
	}
	if utf8.RuneCountInString(v) > 120 {
		return tooLong("displayName", "Application")
	}
	a.DisplayName = v
	return nil
}

// setUniqueName sets it once; a holder that was deleted keeps it too.
func setUniqueName(t *Tenant, a *application, raw json.RawMessage) *graphError {
	var v *string
	if json.Unmarshal(raw, &v) != nil || v != nil && (*v == "" || utf8.RuneCountInString(*v) > 128) {
		return invalid("uniqueName", "Application")
	}
	switch {
	case a.UniqueName == nil && v == nil, a.UniqueName != nil && v != nil && *a.UniqueName == *v:
		return nil
	case a.UniqueName != nil:
		return bad("Property 'uniqueName' is immutable once it is set.").about("Immutable", "uniqueName")
	case t.store.byUniqueName[*v] != "":
		failed := bad("Another object with the same value for property uniqueName already exists.").about("ObjectConflict", "uniqueName")
		if t.cfg.Lag.Max > 0 && t.rng.IntN(4) == 0 { // both are seen; a calm tenant always gives the first
			failed.code = "ObjectConflict"
		}
		return failed
	}
	a.UniqueName = v
	return nil
}

func setSignInAudience(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	var v string
	allowed := []string{"AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount"}
	if json.Unmarshal(raw, &v) != nil || !slices.Contains(allowed, v) {
		return invalid("signInAudience", "Application")
	}
	a.SignInAudience = v
	return nil
}

func parseTags(raw json.RawMessage, resource string) ([]string, *graphError) {
	var tags []string
	if json.Unmarshal(raw, &tags) != nil {
		return nil, invalid("tags", resource)
	}
	for _, tag := range tags {
		if tag == "" || strings.ContainsFunc(tag, unicode.IsSpace) {
			return nil, invalid("tags", resource)
		}
		if utf8.RuneCountInString(tag) > 256 {
			return nil, tooLong("tags", resource)
		}
	}
	return tags, nil
}

func setTags(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	tags, failed := parseTags(raw, "Application")
	if failed == nil {
		a.Tags = tags
	}
	return failed
}

// setAPI and setWeb change the members that the request contains and keep the rest.
func setAPI(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	if strict(raw, &a.API) != nil {
		return invalid("api", "Application")
	}
	if v := a.API.RequestedAccessTokenVersion; v != nil && *v != 1 && *v != 2 {
		return invalid("requestedAccessTokenVersion", "Application")
	}
	return nil
}

func setWeb(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	if strict(raw, &a.Web) != nil {
		return unknown("this value of the property 'web'")
	}
	return nil
}

// strict decodes into an existing value and refuses unknown members. It does not write
// through the pointers and slices of that value.
func strict[V any](raw json.RawMessage, dst *V) error {
	stood, err := json.Marshal(dst)
	if err != nil {
		return err
	}
	var fresh V
	if err := json.Unmarshal(stood, &fresh); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&fresh); err != nil {
		return err
	}
	*dst = fresh
	return nil
}

func setRoles(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	var roles []appRole
	if json.Unmarshal(raw, &roles) != nil {
		return invalid("appRoles", "Application")
	}
	ids, values := map[string]bool{}, map[string]bool{}
	for i, r := range roles {
		if failed := checkRole(r); failed != nil {
			return failed
		}
		if ids[r.ID] || r.value() != "" && values[r.value()] {
			return bad("The request contains a duplicate value for property 'appRoles'.").about("DuplicateValue", "appRoles")
		}
		ids[r.ID], values[r.value()] = true, true
		roles[i].Origin = "Application"
	}
	a.AppRoles = roles
	return nil
}

func checkRole(r appRole) *graphError {
	switch {
	case !validGUID(r.ID), r.DisplayName == "", r.Description == nil || *r.Description == "", len(r.AllowedMemberTypes) == 0:
		return invalid("appRoles", "Application")
	case slices.ContainsFunc(r.AllowedMemberTypes, func(m string) bool { return m != "Application" && m != "User" }):
		return invalid("allowedMemberTypes", "AppRole")
	case len(r.value()) > 120:
		return tooLong("value", "AppRole")
	case strings.HasPrefix(r.value(), ".") || strings.ContainsFunc(r.value(), func(c rune) bool { return !roleRune(c) }):
		return invalid("value", "AppRole")
	}
	return nil
}

// roleRune is whether a role's value may hold a character.
func roleRune(c rune) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.ContainsRune(":!#$%&'()*+,-./:;<=>?@[]^+_`{|}~", c)
}

// checkRoleChange refuses to change or remove a role that is enabled, but for
// disabling it.
func checkRoleChange(old, roles []appRole) *graphError {
	for _, was := range old {
		if !was.IsEnabled {
			continue
		}
		i := slices.IndexFunc(roles, func(r appRole) bool { return r.ID == was.ID })
		if i >= 0 {
			is := roles[i]
			is.IsEnabled = true
			if sameRole(was, is) {
				continue
			}
		}
		return refuse(400, "CannotDeleteOrUpdateEnabledEntitlement",
			"Property value cannot be deleted unless it is disabled first.").about("CannotDeleteEnabledEntitlement", "appRoles")
	}
	return nil
}

func setRequiredAccess(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	var list []resourceAccess
	if json.Unmarshal(raw, &list) != nil {
		return invalid("requiredResourceAccess", "Application")
	}
	seen, permissions := map[string]bool{}, 0
	for _, r := range list {
		permissions += len(r.ResourceAccess)
		if !validGUID(r.ResourceAppID) || seen[r.ResourceAppID] || len(r.ResourceAccess) == 0 {
			return invalid("requiredResourceAccess", "Application")
		}
		seen[r.ResourceAppID] = true
		for _, p := range r.ResourceAccess {
			if !validGUID(p.ID) || p.Type != "Role" && p.Type != "Scope" {
				return invalid("requiredResourceAccess", "Application")
			}
		}
	}
	if len(list) > 50 || permissions > 400 {
		return bad("The limit of 50 resources or 400 permissions in requiredResourceAccess is exceeded.").about("InvalidLength", "requiredResourceAccess")
	}
	a.RequiredResourceAccess = list
	return nil
}

func refusePasswords(_ *Tenant, a *application, raw json.RawMessage) *graphError {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) == 0 && len(a.PasswordCredentials) == 0 {
		return nil
	}
	return bad("Setting passwordCredentials is not supported. Use addPassword and removePassword.").about("NotSupported", "passwordCredentials")
}

// setKeys replaces the certificates; one that is named by its keyId keeps its key.
func setKeys(t *Tenant, a *application, raw json.RawMessage) *graphError {
	var list []keyCredential
	if json.Unmarshal(raw, &list) != nil {
		return invalid("keyCredentials", "Application")
	}
	for i := range list {
		k := &list[i]
		j := slices.IndexFunc(a.KeyCredentials, func(old keyCredential) bool { return old.KeyID == k.KeyID })
		switch {
		case j >= 0:
			// An entry that is sent back keeps its key and must be as it was read.
			old := a.KeyCredentials[j]
			if k.Type != old.Type || k.Usage != old.Usage || !k.StartDateTime.Equal(old.StartDateTime) || !k.EndDateTime.Equal(old.EndDateTime) ||
				k.Key != nil && *k.Key != encodeDER(old.der) {
				return bad("Update to existing credential with KeyId '%s' is not allowed.", k.KeyID).coded("KeyNotUpdatable").about("KeyNotUpdatable", "keyCredentials")
			}
			*k = old
			continue
		case k.Key == nil || k.Type != "AsymmetricX509Cert" || k.Usage != "Verify":
			return invalid("keyCredentials", "Application")
		case k.KeyID == "":
			k.KeyID = t.newID()
		case !validGUID(k.KeyID):
			return invalid("keyCredentials", "Application")
		}
		if failed := k.readCertificate(); failed != nil {
			return failed
		}
	}
	a.KeyCredentials = list
	return nil
}

// readCertificate takes validity and thumbprint from the certificate.
func (k *keyCredential) readCertificate() *graphError {
	der, err := base64.StdEncoding.DecodeString(*k.Key)
	if err != nil {
		return invalid("keyCredentials", "Application")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return bad("Key credential has an invalid certificate value.").about("InvalidValue", "keyCredentials")
	}
	if k.EndDateTime.IsZero() {
		k.EndDateTime = cert.NotAfter
	}
	if k.StartDateTime.IsZero() {
		k.StartDateTime = cert.NotBefore
	}
	if k.EndDateTime.After(cert.NotAfter) || k.StartDateTime.Before(cert.NotBefore) {
		return bad("Key credential start and end date must lie within the validity of the certificate.").about("InvalidValue", "keyCredentials")
	}
	if k.CustomKeyIdentifier == nil {
		sum := sha1.Sum(der) // the thumbprint that Entra shows
		k.CustomKeyIdentifier = ptr(base64.StdEncoding.EncodeToString(sum[:]))
	}
	k.Key, k.der = nil, der
	return nil
}

func encodeDER(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// maxItems is how many items all collections of one application may hold.
const maxItems = 1000

func checkSize(a *application) *graphError {
	n := len(a.IdentifierURIs) + len(a.Tags) + len(a.AppRoles) + len(a.PasswordCredentials) + len(a.KeyCredentials) +
		len(a.Web.RedirectURIs) + len(a.API.KnownClientApplications)
	for _, r := range a.RequiredResourceAccess {
		n += len(r.ResourceAccess)
	}
	if n > maxItems {
		return refuse(400, "Directory_ResourceSizeExceeded", "The size of the object has exceeded its limit. Please reduce the number of values and retry your request.")
	}
	return nil
}
