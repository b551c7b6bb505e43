// A Go program without TLS.

package main

import "fmt"

func main() { fmt.Println("plain") }
