package openapi

import "slices"

var places = []string{"path", "query", "querystring", "header", "cookie"}

func (r *reader) parameters(v *value) []Parameter {
	var out []Parameter
	r.each(r.list(v, "parameters"), func(_ string, item *value) {
		out = append(out, r.parameter(r.target(item)))
	})
	return out
}

func (r *reader) parameter(v *value) Parameter {
	r.step(stepsOfPart)
	p := Parameter{
		Name: r.text(v, "name"), In: r.text(v, "in"), Description: r.text(v, "description"),
		Required: r.flag(v, "required"), Deprecated: r.flag(v, "deprecated"),
	}
	if p.Name == "" || !slices.Contains(places, p.In) {
		r.fail("a parameter must have a name, and an in of path, query, querystring, header or cookie")
	}
	if p.In == "path" && !p.Required {
		r.fail("a path parameter must have required: true")
	}
	p.Schema = r.schema(v)
	if content := r.content(v); len(content) > 0 {
		p.Schema = content[0].Schema
	}
	return p
}

// overridden returns the parameters of a path and of an operation. An operation's
// parameter replaces the path's parameter of the same name and place.
func (r *reader) overridden(common, own []Parameter) []Parameter {
	type key struct{ name, in string }
	at := make(map[key]int, len(common)+len(own))
	out := make([]Parameter, 0, len(common)+len(own))
	if !r.step(stepsOfPart * len(common)) {
		return nil
	}
	for _, p := range common {
		at[key{p.Name, p.In}] = len(out)
		out = append(out, p)
	}
	seen := make(map[key]bool, len(own))
	for _, p := range own {
		k := key{p.Name, p.In}
		if seen[k] {
			r.fail("has the %s parameter %.100q twice", p.In, p.Name)
		}
		seen[k] = true
		if i, ok := at[k]; ok {
			out[i] = p
			continue
		}
		at[k] = len(out)
		out = append(out, p)
	}
	return out
}

func (r *reader) body(v *value) *Body {
	given := r.object(v, "requestBody", false)
	if given == nil {
		return nil
	}
	var b *Body
	r.in("requestBody", func() {
		t := r.target(given)
		b = &Body{Required: r.flag(t, "required"), Description: r.text(t, "description"), Content: r.content(t)}
	})
	return b
}

func (r *reader) responses(v *value) []Response {
	var out []Response
	r.each(r.objects(v, "responses"), func(status string, item *value) {
		if isExtension(status) {
			return
		}
		r.step(stepsOfPart)
		t := r.target(item)
		out = append(out, Response{status, r.text(t, "description"), r.content(t)})
	})
	return out
}

func (r *reader) content(v *value) []Media {
	var out []Media
	r.each(r.objects(v, "content"), func(name string, item *value) {
		r.step(stepsOfPart)
		t := r.target(item)
		out = append(out, Media{name, r.schema(t), example(t)})
	})
	return out
}

// maxExample is the most bytes of an example that are kept.
const maxExample = 16 << 10

// example returns the example of a media type, or the first of its examples, or the
// example of its schema.
func example(media *value) string {
	v := media.get("example")
	if examples := media.get("examples"); v == nil && examples != nil && examples.kind == '{' && len(examples.items) > 0 {
		v = examples.items[0].get("value")
	}
	if v == nil {
		v = media.get("schema").get("example")
	}
	if v == nil {
		return ""
	}
	if v.kind == '"' {
		return v.text[:min(len(v.text), maxExample)]
	}
	text, err := v.encode(func([]string) bool { return true })
	if err != nil || len(text) > maxExample {
		return ""
	}
	return string(text)
}
