// A TLS client and server of Go's standard library: raw connections, or HTTPS/1.1 through net/http.
// Both ends run in one process, or one end in each of two (--role). The README of testbins has the
// options and the --log contract: what Read and Write of *tls.Conn really moved, and nothing else.

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var (
	accept      = flag.Int("accept", 0, "server: end after N connections; 0: as many as --connections")
	bigSize     = flag.Int("big", 0, "raw: one more message of that size on each connection")
	binary      = flag.Bool("binary", false, "all byte values instead of text")
	connections = flag.Int("connections", 1, "how many connections, one goroutine each")
	logDir      = flag.String("log", "", "folder for what was read and written")
	messages    = flag.Int("messages", 10, "messages on each connection")
	mode        = flag.String("mode", "raw", "raw or http")
	odd         = flag.Bool("odd", false, "raw: also empty reads and writes, reads of 3 bytes, a read after a deadline")
	port        = flag.Int("port", 0, "port of the server")
	role        = flag.String("role", "both", "both, client or server")
	size        = flag.Int("size", 200, "bytes of a message")
	stack       = flag.Bool("stack", false, "raw: read into buffers on goroutine stacks that grow meanwhile")
	timeout     = flag.Int("timeout", 60, "seconds until it gives up with status 3")
	wait        = flag.Bool("wait", false, "print ready and wait for a line before anything is connected")
	waitLate    = flag.Bool("wait-late", false, "the same after the first handshake, with a server that reads already")
	wrap        = flag.String("wrap", "", "client: wrappers between TLS and TCP, innermost first: e (embedded), n (named, not first), p (pointer to TCP)")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	go func() {
		time.Sleep(time.Duration(*timeout) * time.Second)
		fmt.Fprintln(os.Stderr, "timeout")
		os.Exit(3)
	}()
	if *accept == 0 {
		*accept = *connections
	}
	if *wait {
		standStill()
	}
	served := make(chan struct{})
	if *role == "client" {
		close(served)
	} else {
		listener := listen()
		go func() {
			defer close(served)
			serve(listener)
		}()
	}
	if *role != "server" {
		runClients()
	}
	<-served
	writeLogs()
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

var stdin = bufio.NewReader(os.Stdin)

func standStill() {
	fmt.Println("ready")
	_, err := stdin.ReadString('\n')
	must(err)
}

// What went through one end of one connection.
type endpoint struct {
	*tls.Conn
	role          string
	mutex         sync.Mutex
	read, written bytes.Buffer
	number        int
}

var (
	endpoints      []*endpoint
	endpointsMutex sync.Mutex
)

func watch(conn *tls.Conn, role string, number int) *endpoint {
	end := &endpoint{Conn: conn, role: role, number: number}
	endpointsMutex.Lock()
	endpoints = append(endpoints, end)
	endpointsMutex.Unlock()
	return end
}

func (end *endpoint) Read(data []byte) (int, error) {
	n, err := end.Conn.Read(data)
	end.mutex.Lock()
	end.read.Write(data[:n])
	end.mutex.Unlock()
	return n, err
}

func (end *endpoint) Write(data []byte) (int, error) {
	n, err := end.Conn.Write(data)
	end.mutex.Lock()
	end.written.Write(data[:n])
	end.mutex.Unlock()
	return n, err
}

func writeLogs() {
	if *logDir == "" {
		return
	}
	for _, end := range endpoints {
		end.mutex.Lock()
		number := end.number
		if number < 0 {
			number = numberIn(end.read.Bytes())
		}
		base := filepath.Join(*logDir, end.role+"-"+strconv.Itoa(number))
		must(os.WriteFile(base+".read", end.read.Bytes(), 0o600))
		must(os.WriteFile(base+".write", end.written.Bytes(), 0o600))
		end.mutex.Unlock()
	}
}

// A server learns from the first message which connection it has.
func numberIn(data []byte) int {
	_, rest, found := bytes.Cut(data, []byte("connection="))
	digits, _, ended := bytes.Cut(rest, []byte(";"))
	number, err := strconv.Atoi(string(digits))
	if !found || !ended || err != nil {
		log.Fatalf("no connection number in %q", data)
	}
	return number
}

// Message m of a connection; it begins with the numbers and is the same at each run.
func message(number, m, length int) []byte {
	data := []byte(fmt.Sprintf("connection=%d;message=%d;", number, m))
	state := uint32(number*7919 + m*104729 + 1)
	for len(data) < length {
		state = state*1664525 + 1013904223
		letter := byte(state >> 24)
		if !*binary {
			letter = 'a' + letter%26
		}
		data = append(data, letter)
	}
	return data
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var serverAddress atomic.Value

func listen() net.Listener {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	must(err)
	address := listener.Addr().(*net.TCPAddr)
	serverAddress.Store(address.String())
	if *role == "server" {
		fmt.Printf("listening %d\n", address.Port)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	return tls.NewListener(listener, config)
}

func serve(listener net.Listener) {
	if *mode == "http" {
		serveHTTP(listener)
		return
	}
	var all sync.WaitGroup
	for i := 0; i < *accept; i++ {
		conn, err := listener.Accept()
		must(err)
		all.Add(1)
		go func() {
			defer all.Done()
			end := watch(conn.(*tls.Conn), "server", -1)
			buffer := make([]byte, 50000)
			// Not io.Copy, which a wrapper's embedded methods could lead around.
			for {
				n, err := end.Read(buffer)
				if n > 0 {
					_, err := end.Write(buffer[:n])
					must(err)
				}
				if err == io.EOF {
					break
				}
				must(err)
			}
			must(end.Close())
		}()
	}
	all.Wait()
}

type watchedListener struct {
	net.Listener
}

func (listener watchedListener) Accept() (net.Conn, error) {
	conn, err := listener.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return watch(conn.(*tls.Conn), "server", -1), nil
}

func serveHTTP(listener net.Listener) {
	closed := make(chan struct{}, *accept)
	server := &http.Server{
		Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			body, err := io.ReadAll(request.Body)
			must(err)
			answer.Header().Set("Content-Type", "application/octet-stream")
			_, err = answer.Write(body)
			must(err)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed <- struct{}{}
			}
		},
	}
	go func() {
		err := server.Serve(watchedListener{listener})
		if !errors.Is(err, http.ErrServerClosed) {
			must(err)
		}
	}()
	for i := 0; i < *accept; i++ {
		<-closed
	}
	must(server.Shutdown(context.Background()))
}

// Between TLS and TCP, as programs have them: the inner connection embedded, kept under a name, or
// as what it is.
type embedding struct {
	net.Conn
	name string
}

type naming struct {
	name  string
	inner net.Conn
}

func (conn *naming) Read(data []byte) (int, error)      { return conn.inner.Read(data) }
func (conn *naming) Write(data []byte) (int, error)     { return conn.inner.Write(data) }
func (conn *naming) Close() error                       { return conn.inner.Close() }
func (conn *naming) LocalAddr() net.Addr                { return conn.inner.LocalAddr() }
func (conn *naming) RemoteAddr() net.Addr               { return conn.inner.RemoteAddr() }
func (conn *naming) SetDeadline(at time.Time) error     { return conn.inner.SetDeadline(at) }
func (conn *naming) SetReadDeadline(at time.Time) error { return conn.inner.SetReadDeadline(at) }
func (conn *naming) SetWriteDeadline(at time.Time) error {
	return conn.inner.SetWriteDeadline(at)
}

type pointing struct {
	name string
	*net.TCPConn
}

func wrapped(conn net.Conn) net.Conn {
	for _, kind := range *wrap {
		switch kind {
		case 'e':
			conn = &embedding{Conn: conn, name: "e"}
		case 'n':
			conn = &naming{inner: conn, name: "n"}
		case 'p':
			conn = &pointing{TCPConn: conn.(*net.TCPConn), name: "p"}
		default:
			log.Fatalf("no wrapper %c", kind)
		}
	}
	return conn
}

func dial(number int) *endpoint {
	address := fmt.Sprintf("127.0.0.1:%d", *port)
	if here, ok := serverAddress.Load().(string); ok {
		address = here
	}
	plain, err := net.Dial("tcp", address)
	must(err)
	conn := tls.Client(wrapped(plain), &tls.Config{InsecureSkipVerify: true})
	must(conn.Handshake())
	if *waitLate && number == 0 {
		// Time for the server to block in its first Read.
		time.Sleep(200 * time.Millisecond)
		standStill()
	}
	return watch(conn, "client", number)
}

func runClients() {
	talk := talkRaw
	if *mode == "http" {
		talk = talkHTTP
	}
	var all sync.WaitGroup
	first := dial(0)
	for number := 0; number < *connections; number++ {
		end := first
		if number > 0 {
			end = dial(number)
		}
		all.Add(1)
		go func(number int) {
			defer all.Done()
			talk(end, number)
		}(number)
	}
	all.Wait()
}

func talkRaw(end *endpoint, number int) {
	for m := 0; m < *messages; m++ {
		exchange(end, message(number, m, *size))
	}
	if *bigSize > 0 {
		exchange(end, message(number, *messages, *bigSize))
	}
	if *odd {
		talkOddly(end, number)
	}
	must(end.Close())
}

func exchange(end *endpoint, data []byte) {
	go func() {
		_, err := end.Write(data)
		must(err)
	}()
	echo := make([]byte, len(data))
	if *stack {
		readOnStack(end, echo)
	} else {
		_, err := io.ReadFull(end, echo)
		must(err)
	}
	if !bytes.Equal(echo, data) {
		log.Fatal("the echo differs")
	}
}

// Each read's buffer is on the stack of a new goroutine, which the TLS code below makes grow.
func readOnStack(end *endpoint, into []byte) {
	for len(into) > 0 {
		done := make(chan int)
		rest := into
		go func() {
			var buffer [300]byte
			n, err := readInto(end.Conn, &buffer)
			must(err)
			if n > len(rest) {
				log.Fatal("more than was sent")
			}
			end.mutex.Lock()
			end.read.Write(buffer[:n])
			end.mutex.Unlock()
			done <- copy(rest, buffer[:n])
		}()
		into = into[<-done:]
	}
}

//go:noinline
func readInto(conn *tls.Conn, buffer *[300]byte) (int, error) {
	runtime.Gosched()
	return conn.Read(buffer[:])
}

func talkOddly(end *endpoint, number int) {
	for _, empty := range [][]byte{nil, {}} {
		_, err := end.Write(empty)
		must(err)
		_, err = end.Read(empty)
		must(err)
	}
	data := message(number, *messages+1, 40)
	_, err := end.Write(data)
	must(err)
	var echo []byte
	for len(echo) < len(data) {
		var part [3]byte
		n, err := end.Read(part[:])
		must(err)
		echo = append(echo, part[:n]...)
	}
	if !bytes.Equal(echo, data) {
		log.Fatal("the echo differs")
	}
	must(end.SetReadDeadline(time.Now().Add(10 * time.Millisecond)))
	_, err = end.Read(make([]byte, 10))
	var timedOut net.Error
	if !errors.As(err, &timedOut) || !timedOut.Timeout() {
		log.Fatalf("expected a timeout, got %v", err)
	}
	must(end.SetReadDeadline(time.Time{}))
}

func talkHTTP(end *endpoint, number int) {
	transport := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			return end, nil
		},
		MaxConnsPerHost: 1,
	}
	client := &http.Client{Transport: transport}
	for m := 0; m < *messages; m++ {
		data := message(number, m, *size)
		address := fmt.Sprintf("https://localhost/connection=%d;message=%d;", number, m)
		answer, err := client.Post(address, "application/octet-stream", bytes.NewReader(data))
		must(err)
		echo, err := io.ReadAll(answer.Body)
		must(err)
		must(answer.Body.Close())
		if !bytes.Equal(echo, data) {
			log.Fatal("the echo differs")
		}
	}
	transport.CloseIdleConnections()
}
