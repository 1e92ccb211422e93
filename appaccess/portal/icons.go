package portal

import "html/template"

// icons are the paths of line drawings on a grid of 24.
var icons = map[string]string{
	"home":     `<path d="M4 11l8-7 8 7M6 9.5V20h12V9.5M10 20v-5h4v5"/>`,
	"box":      `<path d="M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9"/>`,
	"app":      `<rect x="4" y="4" width="7" height="7" rx="1.5"/><rect x="13" y="4" width="7" height="7" rx="1.5"/><rect x="4" y="13" width="7" height="7" rx="1.5"/><path d="M16.5 13.5v6M13.5 16.5h6"/>`,
	"key":      `<circle cx="8" cy="15" r="4"/><path d="M11 12l8-8M16 7l2.5 2.5M13.5 9.5L15 11"/>`,
	"users":    `<circle cx="9" cy="8" r="3.5"/><path d="M2.5 20c.5-4 3-6 6.500-6s6 2 6.500 6M16 4.800a3.500 3.500 0 010 6.400M18 14.500c2 .8 3.200 2.600 3.500 5.500"/>`,
	"api":      `<path d="M8 6l-5 6 5 6M16 6l5 6-5 6M13.500 4l-3 16"/>`,
	"list":     `<path d="M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01"/>`,
	"sync":     `<path d="M20 6v5h-5M4 18v-5h5M19.400 11A8 8 0 006 6.300L4 8M4.600 13A8 8 0 0018 17.700l2-1.700"/>`,
	"pulse":    `<path d="M3 12h4l2.500-7 5 14L17 12h4"/>`,
	"check":    `<circle cx="12" cy="12" r="9"/><path d="M8 12.500l2.700 2.700L16 9.500"/>`,
	"alert":    `<path d="M12 4l9 16H3zM12 10v4.500M12 17.300v.01"/>`,
	"info":     `<circle cx="12" cy="12" r="9"/><path d="M12 11v5M12 7.800v.01"/>`,
	"cross":    `<circle cx="12" cy="12" r="9"/><path d="M9 9l6 6M15 9l-6 6"/>`,
	"clock":    `<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3.500 2"/>`,
	"menu":     `<path d="M4 7h16M4 12h16M4 17h16"/>`,
	"plus":     `<path d="M12 5v14M5 12h14"/>`,
	"play":     `<path d="M7 4.500v15l12-7.500z"/>`,
	"mail":     `<rect x="3" y="5" width="18" height="14" rx="2"/><path d="M3.500 7l8.500 6 8.500-6"/>`,
	"search":   `<circle cx="11" cy="11" r="6.500"/><path d="M16 16l4.500 4.500"/>`,
	"file":     `<path d="M7 3h7l5 5v13H7zM14 3v5h5M10 13h6M10 17h6"/>`,
	"external": `<path d="M14 4h6v6M20 4l-9 9M18 14v5a1 1 0 01-1 1H5a1 1 0 01-1-1V7a1 1 0 011-1h5"/>`,
}

// icon is the template function. An icon says nothing that the text beside it
// does not, so it is hidden from screen readers.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">` + icons[name] + `</svg>`)
}
