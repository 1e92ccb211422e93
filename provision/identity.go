package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/entragate/entragate/appaccess"
)

// The names by which we know our objects again. They depend on the instance,
// the kind and the ID alone, never on a display name.

const (
	kindProduct     = "product"
	kindApplication = "application"

	tagPrefix  = "entragate:"
	maxTag     = 256
	maxName    = 120 // of a display name and of a role's value
	maxAbout   = 1024
	maxPlainID = 64
)

var (
	plainID    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	hashedID   = regexp.MustCompile(`^h-[0-9a-f]{40}$`)
	instanceOK = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

	// namespace is that of our UUIDv5 role IDs.
	namespace = uuid.MustParse("6f6c1f86-5a0b-4c0e-9d0c-2f9b7f0f2a51")
)

// uniqueName is the object's uniqueName in Entra: at most 117 characters, safe
// in URLs. An instance has no dash, so no two objects share a name.
func uniqueName(instance, kind, id string) string {
	return namePrefix(instance, kind) + slug(id)
}

func namePrefix(instance, kind string) string { return "entragate-" + instance + "-" + kind + "-" }

// slug returns a plain ID unchanged and any other ID as a hash.
func slug(id string) string {
	if len(id) <= maxPlainID && plainID.MatchString(id) && !hashedID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "h-" + hex.EncodeToString(sum[:20])
}

// roleID is the ID of the app role of a permission of the product with a unique
// name.
func roleID(uniqueName, permission string) string {
	name := uniqueName + "/role"
	if permission != appaccess.AllPermission {
		name += "/" + permission
	}
	return uuid.NewSHA1(namespace, []byte(name)).String()
}

// nameTag is the tag by which people and lists find the object. It proves nothing:
// see proof.go.
func nameTag(uniqueName string) string { return tagPrefix + uniqueName }

// ownerTag names a client application's owner, unless a tag cannot carry it.
func ownerTag(id string) string {
	tag := tagPrefix + "owner:" + id
	if id == "" || len(tag) > maxTag || strings.ContainsFunc(id, notTag) {
		return ""
	}
	return tag
}

func notTag(r rune) bool { return r <= ' ' || r >= 0x7f }

// mergeTags replaces our tags and keeps all others, in their order.
func mergeTags(have []string, ours ...string) []string {
	tags := slices.DeleteFunc(slices.Clone(have), func(t string) bool { return strings.HasPrefix(t, tagPrefix) })
	for _, t := range ours {
		if t != "" {
			tags = append(tags, t)
		}
	}
	return tags
}

// managedElsewhere reports whether tags say that another object or instance of
// ours manages the application.
func managedElsewhere(tags []string, uniqueName string) bool {
	return slices.ContainsFunc(tags, func(t string) bool {
		return strings.HasPrefix(t, tagPrefix+"entragate-") && t != nameTag(uniqueName)
	})
}

// clip shortens a text to at most n bytes, at a rune's border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
