// Package provision makes Microsoft Entra hold what the Service of package
// appaccess wants: applications, app roles, service principals, grants and
// credentials, whatever fails on the way.
package provision

import "github.com/entragate/entragate/appaccess"

// Secret is a value that never prints.
type Secret = appaccess.Secret
