package frameworks

import (
	"bufio"
	"io"
	"net"
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

// Use makes gin middleware of net/http's. A request that the middleware does not
// pass on is aborted, and the handler writes through the middleware's
// ResponseWriter, so that the gate can end an open response.
//
// gin.WrapH(gate.Product("starter")(handler)) in Use is wrong: gin runs the next
// handler although the gate has refused the request. gatetest.Unguarded finds that.
func Use(m func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			passed = true
			outer := c.Writer
			defer func() { c.Writer = outer }()
			c.Request, c.Writer = r, gatedWriter{outer, w}
			c.Next()
		})
		m(next).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}

// gatedWriter is gin's ResponseWriter. It writes through a middleware's ResponseWriter.
type gatedWriter struct {
	gin.ResponseWriter
	through http.ResponseWriter
}

func (w gatedWriter) WriteHeader(status int)            { w.through.WriteHeader(status) }
func (w gatedWriter) Write(b []byte) (int, error)       { return w.through.Write(b) }
func (w gatedWriter) WriteString(s string) (int, error) { return io.WriteString(w.through, s) }
func (w gatedWriter) Flush()                            { _ = http.NewResponseController(w.through).Flush() }
func (w gatedWriter) Unwrap() http.ResponseWriter       { return w.through }

func (w gatedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.through).Hijack()
}

// GinRoutes are the patterns of a router, for [middleware.Gate.CheckRoutes].
func GinRoutes(e *gin.Engine) []string {
	var out []string
	for _, r := range e.Routes() {
		out = append(out, r.Method+" "+r.Path)
	}
	return out
}
