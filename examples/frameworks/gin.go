package frameworks

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/entragate/entragate/middleware"
)

// Gin adapts the gate with Use.
func Gin(gate *middleware.Gate) *gin.Engine {
	e := gin.New()
	g := e.Group("/echo", Use(gate.Product("starter")))
	g.GET("/:id", func(c *gin.Context) { hello(c.Writer, c.Request, c.Param("id")) })
	return e
}

// Use makes gin middleware of net/http's: gin.WrapH does that for handlers
// only. What the middleware does not pass on is aborted.
func Use(m func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r
			c.Next()
		})
		m(next).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}

// GinRoutes are the patterns of a router, for [middleware.Gate.CheckRoutes].
func GinRoutes(e *gin.Engine) []string {
	var out []string
	for _, r := range e.Routes() {
		out = append(out, r.Method+" "+r.Path)
	}
	return out
}
