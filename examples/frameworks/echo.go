package frameworks

import (
	"github.com/labstack/echo/v4"

	"github.com/entragate/entragate/middleware"
)

// Echo adapts the gate with echo.WrapMiddleware.
func Echo(gate *middleware.Gate) *echo.Echo {
	e := echo.New()
	g := e.Group("/echo", echo.WrapMiddleware(gate.Product("starter")))
	g.GET("/:id", func(c echo.Context) error {
		hello(c.Response(), c.Request(), c.Param("id"))
		return nil
	})
	return e
}

// EchoRoutes are the patterns of a router, for [middleware.Gate.CheckRoutes].
// echo adds two routes of its own to a group with middleware, to answer 404.
func EchoRoutes(e *echo.Echo) []string {
	var out []string
	for _, r := range e.Routes() {
		if r.Method != echo.RouteNotFound {
			out = append(out, r.Method+" "+r.Path)
		}
	}
	return out
}
