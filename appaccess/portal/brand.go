package portal

import (
	"bytes"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Brand is the look of a portal. The zero value is the portal's own look. The portal
// serves the logo and the colours itself, so its Content-Security-Policy stays as
// strict.
type Brand struct {
	// Logo is an SVG or PNG image of at most 256 KiB, shown beside the title and
	// as the icon of the page. Empty: the portal's own.
	Logo []byte
	// Accent is the colour of links and buttons on a light background, and AccentDark
	// on a dark one, such as "#0b5cad". Each needs a contrast of 4.5 to 1 with its
	// background. Empty: the portal's own.
	Accent, AccentDark string
	// Support is where users find help: an https or mailto URL. It is in the
	// footer and on error pages. Terms is the https URL of the terms of use. Both
	// may be empty.
	Support, Terms string
	// Footer is a line of text at the end of each page; may be empty.
	Footer string
}

const maxLogo = 256 << 10

var colour = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// check refuses images, colours and addresses that browsers would not show, or that
// users could not read.
func (b Brand) check() error {
	if len(b.Logo) > maxLogo || len(b.Logo) > 0 && b.logoType() == "" {
		return fmt.Errorf("portal: Brand.Logo: must be an SVG or PNG image of at most %d KiB", maxLogo>>10)
	}
	for _, c := range []struct{ field, value, ground string }{{"Accent", b.Accent, "#ffffff"}, {"AccentDark", b.AccentDark, "#161d26"}} {
		if c.value == "" {
			continue
		}
		if !colour.MatchString(c.value) {
			return fmt.Errorf("portal: Brand.%s: %q: must be a colour such as #0b5cad", c.field, c.value)
		}
		if ratio := contrast(c.value, c.ground); ratio < 4.5 {
			return fmt.Errorf("portal: Brand.%s: %q: has a contrast of %.1f to 1 with %s, must have 4.5 or more", c.field, c.value, ratio, c.ground)
		}
	}
	for _, c := range []struct{ field, value, schemes string }{{"Support", b.Support, "https mailto"}, {"Terms", b.Terms, "https"}} {
		if u, err := url.Parse(c.value); c.value != "" && (err != nil || u.Scheme == "" || !slices.Contains(strings.Fields(c.schemes), u.Scheme)) {
			return fmt.Errorf("portal: Brand.%s: %q: must be a URL of: %s", c.field, c.value, c.schemes)
		}
	}
	return nil
}

// logoType is the extension of the logo's format; empty: it is neither SVG nor PNG.
func (b Brand) logoType() string {
	switch head := bytes.TrimSpace(b.Logo[:min(len(b.Logo), 1024)]); {
	case bytes.HasPrefix(b.Logo, []byte("\x89PNG\r\n\x1a\n")):
		return ".png"
	case bytes.HasPrefix(head, []byte("<")) && bytes.Contains(head, []byte("<svg")):
		return ".svg"
	}
	return ""
}

// css sets the colours.
func (b Brand) css() string {
	var out strings.Builder
	set := func(name, on string) {
		fmt.Fprintf(&out, "  --accent: %s; --accent-hover: color-mix(in srgb, %s 80%%, %s);", name, name, on)
		fmt.Fprintf(&out, " --accent-soft: color-mix(in srgb, %s 12%%, var(--surface)); --accent-line: color-mix(in srgb, %s 35%%, var(--surface));\n", name, name)
	}
	if b.Accent != "" {
		out.WriteString(":root {\n")
		set(b.Accent, "black")
		out.WriteString("}\n")
	}
	if b.AccentDark != "" {
		out.WriteString("@media (prefers-color-scheme: dark) { :root {\n")
		set(b.AccentDark, "white")
		out.WriteString("} }\n")
	}
	return out.String()
}

// contrast is the contrast ratio of two colours, as WCAG 2 defines it.
func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	if x < y {
		x, y = y, x
	}
	return (x + .05) / (y + .05)
}

func luminance(c string) float64 {
	sum := 0.0
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, _ := strconv.ParseUint(c[1+2*i:3+2*i], 16, 8) // checked by the pattern
		v := float64(n) / 255
		if v <= .04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}
