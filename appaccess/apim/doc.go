// Package apim moves an Azure API Management instance to entragate.
//
// The move has two passes. The first needs the reader role only:
//
//	instance, err := apim.NewClient(...).Read(ctx)   // or apim.ReadFS(os.DirFS("extract"))
//	plan, err := apim.NewPlan(instance, apim.Options{})
//	plan.WriteReport(os.Stdout)
//
// A [Plan] holds every object that would be created and a [Finding] for
// everything that entragate does differently or cannot carry. A finding says
// whether leaving it out opens access, breaks callers, or is for information.
// Findings that open access, and keys that a person chose, must be acknowledged
// by ID in [Options.Acknowledge] before [Plan.Document] returns a document.
//
// The second pass reads the subscription keys, for which a separate right is
// needed, and keeps only their SHA-256:
//
//	keys, err := client.ReadKeys(ctx, plan, apim.ReadKeysConfig{})
//	plan.AddKeys(keys)
//	document, err := plan.Document()
//	report, err := service.Import(ctx, manager, document, appaccess.ImportRequest{})
//
// Callers then need no change: keys, client IDs and secrets stay valid, because
// the Entra applications of products and client applications are adopted, not
// created again.
//
// What a source does not contain is left alone: nothing is pruned, and a section
// that the source cannot hold (files never hold users' keys, for example) is
// missing from the document instead of empty. A second run over an unchanged
// instance makes the same document.
//
// The package reads; it never writes to API Management. It does not read the
// secrets of client applications, named values, or the keys of workspaces.
package apim
