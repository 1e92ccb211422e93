package entratest

import (
	"maps"
	"slices"
)

// Rights that a caller can be given, as Entra names them.
const (
	ApplicationAdministrator      = "Application Administrator"       // directory role
	CloudApplicationAdministrator = "Cloud Application Administrator" // directory role
	DirectoryReaders              = "Directory Readers"               // directory role
	ReadWriteOwned                = "Application.ReadWrite.OwnedBy"
	ReadWriteAll                  = "Application.ReadWrite.All"
	AssignAll                     = "AppRoleAssignment.ReadWrite.All"
	ReadApplications              = "Application.Read.All"
	ReadDirectory                 = "Directory.Read.All"
)

// directoryRoles are role template IDs by name.
var directoryRoles = map[string]string{
	ApplicationAdministrator:      "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",
	CloudApplicationAdministrator: "158c047a-c907-4556-b7ef-446551a6b5f7",
	DirectoryReaders:              "88d8e3e3-8f55-4a1e-953a-9b9898b8876b",
}

// graphRoles are the app roles of Microsoft Graph that are imitated.
var graphRoles = []struct{ value, id string }{
	{ReadWriteAll, "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"},
	{ReadWriteOwned, "18a4783c-866b-4cc7-a460-3d5e5662c884"},
	{AssignAll, "06b708a9-e830-4db3-a914-8e69da51d44f"},
	{ReadApplications, "9a5d68dd-52b0-4cc2-bd40-abcf4ac3a30e"},
	{ReadDirectory, "7ab1d382-f21e-4acd-a863-ba3e13f7da61"},
}

// Rights are the names that [Tenant.AddCaller] takes.
func Rights() []string {
	names := slices.Sorted(maps.Keys(directoryRoles))
	for _, r := range graphRoles {
		names = append(names, r.value)
	}
	return names
}

// wids is the claim that tells Graph of directory roles.
func wids(sp *servicePrincipal) []string {
	ids := []string{"0997a1d0-0d1d-4acb-b408-d5ca73121e90"} // in every app token for Graph
	for _, name := range sp.directoryRoles {
		ids = append(ids, directoryRoles[name])
	}
	return ids
}
