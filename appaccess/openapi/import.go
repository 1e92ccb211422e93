package openapi

import "github.com/entragate/entragate/appaccess"

// Import reads a document for appaccess.ServiceConfig.ReadOpenAPI. The error is
// an [*Error].
func Import(document []byte) (appaccess.APIDescription, error) {
	d, err := Read(document)
	if err != nil {
		return appaccess.APIDescription{}, err
	}
	out := appaccess.APIDescription{Version: "OpenAPI " + d.Version, Title: d.Title, Servers: d.Servers}
	for _, o := range d.Operations {
		out.Operations = append(out.Operations, appaccess.Operation{
			ID: o.ID, Method: o.Method, Path: o.Path, Summary: o.Summary, Tags: o.Tags,
			AnyOf: o.AnyOf, Unenforceable: o.Unenforceable,
		})
	}
	for _, s := range d.Scopes {
		out.Permissions = append(out.Permissions, appaccess.Permission{Name: s.Name, Description: s.Description})
	}
	for _, n := range d.Notes {
		out.Notes = append(out.Notes, appaccess.DocumentNote{Place: n.Pointer, Text: n.Text})
	}
	return out, nil
}
