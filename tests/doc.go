// Package tests holds the tests that need a device or several packages.
package tests
