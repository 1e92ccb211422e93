package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// env is what -env writes for other programs.
type env struct {
	TenantID          string `json:"tenantId"`
	Authority         string `json:"authority"` // with the tenant
	Graph             string `json:"graph"`     // without its version
	CAFile            string `json:"caFile"`
	Issuer            string `json:"issuer"`
	JWKSURI           string `json:"jwksUri"`
	Gateway           string `json:"gateway"`
	ClientID          string `json:"clientId"`
	ClientSecret      string `json:"clientSecret"`
	Scope             string `json:"scope"`
	SubscriptionKey   string `json:"subscriptionKey"`
	OtherClientID     string `json:"otherClientId"`
	OtherClientSecret string `json:"otherClientSecret"`
	OtherScope        string `json:"otherScope"`
	AdminClientID     string `json:"adminClientId"`
	AdminClientSecret string `json:"adminClientSecret"`
	Portal            string `json:"portal,omitempty"`
	Control           string `json:"control"`
	ControlKey        string `json:"controlKey"`
}

// writeEnv writes the authority's certificate beside the file, then the file
// itself in one step, so that a program that waits for it never reads half of it.
func writeEnv(file string, ca []byte, e env) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("-env: %w", err)
	}
	e.CAFile = file + ".ca.pem"
	if err := replaceFile(e.CAFile, ca); err != nil {
		return fmt.Errorf("-env: %w", err)
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("-env: %w", err)
	}
	if err := replaceFile(file, append(text, '\n')); err != nil {
		return fmt.Errorf("-env: %w", err)
	}
	return nil
}

// removeEnv takes the files away: what they name is gone with the process.
func removeEnv(file string) {
	_ = os.Remove(file)
	_ = os.Remove(file + ".ca.pem")
}

func replaceFile(name string, text []byte) error {
	// CreateTemp makes the file readable by its owner only: it holds secrets.
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(text); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
