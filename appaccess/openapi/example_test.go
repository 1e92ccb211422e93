package openapi_test

import (
	"errors"
	"fmt"

	"github.com/entragate/entragate/appaccess/openapi"
)

func ExampleRead() {
	doc, err := openapi.Read([]byte(`
openapi: 3.1.0
info: {title: Orders, version: "1"}
paths:
  /orders:
    get: {operationId: listOrders, security: [{entra: [Orders.Read]}]}
    post: {operationId: createOrder, security: [{entra: [Orders.Write]}, {key: []}]}
    delete: {operationId: deleteOrders, security: []}
components:
  securitySchemes:
    entra:
      type: oauth2
      flows: {clientCredentials: {tokenUrl: "https://login.microsoftonline.com/", scopes: {Orders.Read: reads, Orders.Write: writes}}}
    key: {type: apiKey, in: header, name: Ocp-Apim-Subscription-Key}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, op := range doc.Operations {
		fmt.Println(op.Method, op.Path, op.AnyOf)
	}
	for _, n := range doc.Notes {
		fmt.Println(n.Pointer+":", n.Text)
	}
	// Output:
	// GET /orders [[Orders.Read]]
	// POST /orders [[Orders.Write]]
	// DELETE /orders []
	// /paths/~1orders/delete/security: the document asks for no credential; the gate still asks for the product's own role
}

func ExampleError() {
	_, err := openapi.Read([]byte(`{"openapi": "3.0.3", "info": {"title": "x", "version": "1"},
		"paths": {"/a": {"get": {"security": null}}}}`))
	var refused *openapi.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Pointer)
		fmt.Println(refused.Reason)
	}
	// Output:
	// /paths/~1a/get/security
	// must be a list
}
