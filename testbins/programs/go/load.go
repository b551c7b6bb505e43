// crypto/tls flat out: what a tracer costs is measured with it. Both ends are in one process, joined by
// memory; the options and what it prints are those of common/load.c.

package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

var (
	messages = flag.Int("messages", 0, "how many")
	seconds  = flag.Int("seconds", 0, "or for how long")
	size     = flag.Int("size", 256, "bytes of a message")
	timeout  = flag.Int("timeout", 60, "seconds until it gives up with status 3")
	wait     = flag.Bool("wait", false, "print ready and wait for a line before anything is connected")
)

// How many messages pass between two looks at the clock.
const batch = 16

func main() {
	flag.Parse()
	log.SetFlags(0)
	if (*messages == 0) == (*seconds == 0) {
		log.Fatal("either --messages or --seconds must be given")
	}
	go func() {
		time.Sleep(time.Duration(*timeout) * time.Second)
		fmt.Fprintln(os.Stderr, "timeout")
		os.Exit(3)
	}()
	if *wait {
		fmt.Println("ready")
		_, err := bufio.NewReader(os.Stdin).ReadString('\n')
		must(err)
	}
	client, server := join()
	count, took := talk(client, server)
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	fmt.Printf("messages %d\nseconds %.6f\ncpu_seconds %.6f\n", count, took.Seconds(), cpu.Seconds())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func talk(client, server *tls.Conn) (int, time.Duration) {
	message, buffer := text(*size), make([]byte, *size)
	start, count := time.Now(), 0
	for !isOver(count, start) {
		_, err := client.Write(message)
		must(err)
		_, err = io.ReadFull(server, buffer)
		must(err)
		if count == 0 && !bytes.Equal(message, buffer) {
			log.Fatal("other bytes were delivered than were sent")
		}
		count++
	}
	return count, time.Since(start)
}

func isOver(count int, start time.Time) bool {
	if *messages > 0 {
		return count >= *messages
	}
	return count%batch == 0 && time.Since(start) >= time.Duration(*seconds)*time.Second
}

// Lines of letters, the same at each run.
func text(length int) []byte {
	data := make([]byte, length)
	state := uint32(1)
	for i := range data {
		state = state*1664525 + 1013904223
		data[i] = 'a' + byte(state>>24)%26
		if i%64 == 63 {
			data[i] = '\n'
		}
	}
	return data
}

// Bytes on their way to one end.
type half struct {
	mutex sync.Mutex
	came  *sync.Cond
	bytes bytes.Buffer
}

// One end of a connection in memory.
type memory struct {
	net.Conn
	from, to *half
}

func (conn memory) Read(data []byte) (int, error) {
	conn.from.mutex.Lock()
	defer conn.from.mutex.Unlock()
	for conn.from.bytes.Len() == 0 {
		conn.from.came.Wait()
	}
	return conn.from.bytes.Read(data)
}

func (conn memory) Write(data []byte) (int, error) {
	conn.to.mutex.Lock()
	defer conn.to.mutex.Unlock()
	defer conn.to.came.Signal()
	return conn.to.bytes.Write(data)
}

func newHalf() *half {
	made := &half{}
	made.came = sync.NewCond(&made.mutex)
	return made
}

func join() (client, server *tls.Conn) {
	left, right := newHalf(), newHalf()
	// Otherwise the first thousand records are small ones.
	client = tls.Client(memory{from: left, to: right}, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	server = tls.Server(memory{from: right, to: left}, &tls.Config{Certificates: []tls.Certificate{certificate()}})
	failed := make(chan error)
	go func() { failed <- server.Handshake() }()
	must(client.Handshake())
	must(<-failed)
	return client, server
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
