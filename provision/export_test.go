package provision

// Classify gives the verdict on an error to the table test.
func Classify(err error, op string, fresh bool) string {
	return string(classify(err, situation{op: operation(op), fresh: fresh}))
}

// UniqueName shows the names that identify objects.
func UniqueName(instance, kind, id string) string { return uniqueName(instance, kind, id) }
