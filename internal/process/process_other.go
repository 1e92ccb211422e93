//go:build !linux

package process

func place() string { return "" }

func gone(int) bool { return false }
