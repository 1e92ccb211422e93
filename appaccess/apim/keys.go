package apim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"golang.org/x/time/rate"

	"github.com/entragate/entragate/appaccess"
)

// Keys are the hashes of subscription keys, by the subscription's ID in API
// Management.
//
// As JSON they hold the hashes of random keys only, so that an interrupted run
// can go on from a file: the hash of a key that a person chose can be guessed,
// and is left out.
type Keys map[string]KeyHashes

// KeyHashes are the SHA-256 of a subscription's two keys.
type KeyHashes struct {
	Primary   appaccess.KeyHash `json:"primary"`
	Secondary appaccess.KeyHash `json:"secondary"`
	// WeakPrimary and WeakSecondary mark keys that are not 32 hexadecimal
	// digits, as API Management makes them, nor longer than 43 characters: a
	// person may have chosen them.
	WeakPrimary   bool `json:"-"`
	WeakSecondary bool `json:"-"`
}

func (h KeyHashes) weak() bool { return h.WeakPrimary || h.WeakSecondary }

// MarshalJSON leaves out subscriptions with weak keys.
func (k Keys) MarshalJSON() ([]byte, error) {
	strong := map[string]KeyHashes{}
	for id, h := range k {
		if !h.weak() {
			strong[id] = h
		}
	}
	return json.Marshal(strong)
}

// ReadKeysConfig says how keys are read.
type ReadKeysConfig struct {
	// Have are keys of an interrupted run; their subscriptions are not asked for
	// again.
	Have Keys
	// PerSecond bounds the requests; 8 if zero. Azure Resource Manager allows 10
	// a second and then refuses.
	PerSecond float64
	// Progress, if set, is called after each subscription with the keys so far,
	// which it may save and must not change.
	Progress func(done, total int, sofar Keys)
}

// KeysDeniedError is returned when the credential may not read keys. Nothing
// was read.
type KeysDeniedError struct {
	ResourceID string
	Err        error
}

func (e *KeysDeniedError) Error() string {
	return "apim: the credential may not read subscription keys: assign it the role that Role returns, at the instance, for the day of the move: " + e.Err.Error()
}

func (e *KeysDeniedError) Unwrap() error { return e.Err }

// Role is the definition of a custom role that reads everything a move needs
// and nothing more, as "az role definition create" takes it.
func (e *KeysDeniedError) Role() string {
	role := map[string]any{
		"Name":        "entragate move from API Management",
		"Description": "Reads an API Management instance and the keys of its subscriptions.",
		"Actions": []string{
			"Microsoft.ApiManagement/service/read",
			"Microsoft.ApiManagement/service/*/read",
			"Microsoft.ApiManagement/service/subscriptions/listSecrets/action",
		},
		"NotActions": []string{
			"Microsoft.ApiManagement/service/users/keys/read",
			"Microsoft.ApiManagement/service/tenants/keys/read",
		},
		"AssignableScopes": []string{e.ResourceID},
	}
	raw, _ := json.MarshalIndent(role, "", "  ") // strings only: cannot fail
	return string(raw)
}

// ReadKeys reads the keys of the plan's subscriptions, one after the other, and
// keeps their SHA-256 only. Subscriptions deleted meanwhile are missing from the
// result. With any error the keys read so far are returned, too; a
// [*KeysDeniedError] says that the credential does not have the right.
func (c *Client) ReadKeys(ctx context.Context, p *Plan, cfg ReadKeysConfig) (Keys, error) {
	perSecond := cfg.PerSecond
	if perSecond == 0 {
		perSecond = 8
	}
	limit := rate.NewLimiter(rate.Limit(perSecond), 1)
	keys := Keys{}
	ids := p.subscriptionIDs()
	for i, id := range ids {
		if have, ok := cfg.Have[id]; ok {
			keys[id] = have
		} else {
			if err := limit.Wait(ctx); err != nil {
				return keys, fmt.Errorf("apim: read keys: %w", err)
			}
			h, found, err := c.readKey(ctx, id)
			if err != nil {
				return keys, err
			}
			if found {
				keys[id] = h
			}
		}
		if cfg.Progress != nil {
			cfg.Progress(i+1, len(ids), keys)
		}
	}
	return keys, nil
}

func (c *Client) readKey(ctx context.Context, id string) (KeyHashes, bool, error) {
	body, err := c.do(ctx, http.MethodPost, c.base+"/"+escaped([]string{"subscriptions", id, "listSecrets"}), stableVersion, nil)
	var answer *azcore.ResponseError
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return KeyHashes{}, false, nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden:
		resource := c.base[strings.Index(c.base, "/subscriptions/"):]
		return KeyHashes{}, false, &KeysDeniedError{ResourceID: resource, Err: errors.New("403 " + answer.ErrorCode)}
	case err != nil:
		return KeyHashes{}, false, fmt.Errorf("apim: keys of subscriptions/%s: %w", id, err)
	}
	var v struct {
		PrimaryKey   string `json:"primaryKey"`
		SecondaryKey string `json:"secondaryKey"`
	}
	if json.Unmarshal(body, &v) != nil || v.PrimaryKey == "" || v.SecondaryKey == "" {
		return KeyHashes{}, false, fmt.Errorf("apim: keys of subscriptions/%s: the answer holds no two keys", id)
	}
	return KeyHashes{
		Primary: appaccess.HashKey(v.PrimaryKey), Secondary: appaccess.HashKey(v.SecondaryKey),
		WeakPrimary: weakKey(v.PrimaryKey), WeakSecondary: weakKey(v.SecondaryKey),
	}, true, nil
}

// weakKey reports whether a person may have chosen the key, so that it could be
// guessed from its hash.
func weakKey(key string) bool {
	hex := strings.Trim(strings.ToLower(key), "0123456789abcdef") == ""
	distinct := map[rune]bool{}
	for _, r := range key {
		distinct[r] = true
	}
	return !(len(distinct) >= 8 && (hex && len(key) >= 32 || len(key) >= 43))
}

func (p *Plan) subscriptionIDs() []string {
	ids := make([]string, 0, len(p.source))
	for _, id := range p.source {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// AddKeys gives the plan's subscriptions their keys, and adds findings for keys
// that a person may have chosen, that two subscriptions share, or that are
// missing.
func (p *Plan) AddKeys(keys Keys) {
	p.keys = keys
	owner := map[appaccess.KeyHash]string{}
	for _, id := range p.subscriptionIDs() {
		where := "subscriptions/" + id
		h, ok := keys[id]
		if !ok {
			p.find(Breaks, "keys-missing", where, "has keys that were not read", "gets new keys, which its callers do not have",
				"run again, or hand out the new keys")
			continue
		}
		if h.weak() {
			p.find(Info, "weak-key", where, "has a key that a person may have chosen",
				"the key goes on working; everybody who reads the store can guess it", "regenerate the key, or acknowledge").mustAcknowledge = true
		}
		if h.Primary == h.Secondary {
			p.find(Info, "same-keys", where, "has one key twice", "the secondary key is a new one", "nothing")
		}
		for _, sum := range []appaccess.KeyHash{h.Primary, h.Secondary} {
			if other, taken := owner[sum]; taken && other != id {
				p.find(Breaks, "shared-key", where, "shares a key with subscriptions/"+other,
					"the key belongs to subscriptions/"+other+" alone and reaches what that one reaches",
					"give one of the two another key, or acknowledge").mustAcknowledge = true
			} else {
				owner[sum] = id
			}
		}
	}
	p.sortFindings()
}

// withKeys are the document's subscriptions with the hashes of their keys.
func (p *Plan) withKeys() []appaccess.DocumentSubscription {
	section := slices.Clone(p.document.Subscriptions)
	taken := map[appaccess.KeyHash]bool{}
	order := make([]int, len(section))
	for i := range order {
		order[i] = i
	}
	// The order of AddKeys decides who keeps a shared key.
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(p.source[section[a].ID], p.source[section[b].ID]) })
	for _, i := range order {
		h, ok := p.keys[p.source[section[i].ID]]
		if !ok {
			continue
		}
		if !taken[h.Primary] {
			section[i].PrimaryHash = h.Primary
			taken[h.Primary] = true
		}
		if !taken[h.Secondary] {
			section[i].SecondaryHash = h.Secondary
			taken[h.Secondary] = true
		}
	}
	return section
}
