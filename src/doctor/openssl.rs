//! Just enough of OpenSSL to talk TLS with oneself in memory: loaded by name, no headers, no files,
//! no certificates (anonymous key exchange, thus TLS 1.2). The functions used here have the same form
//! from 1.1.0 to 3.x (<https://docs.openssl.org/master/man3/>).

use std::ffi::{c_char, c_int, c_long, c_void};
use std::marker::PhantomData;
use std::ptr;

use libloading::Library;

use crate::error::{Error, OrInvalid, Result};

/// Names by which the loader finds it, newest first; the last is the development link.
const NAMES: [&str; 3] = ["libssl.so.3", "libssl.so.1.1", "libssl.so"];

/// Anonymous suites, with and without elliptic curves, and the security level that allows them.
const CIPHERS: &std::ffi::CStr = c"AECDH+AES:ADH+AES:@SECLEVEL=0";

// include/openssl/ssl.h, tls1.h
const SSL_CTRL_SET_DH_AUTO: c_int = 118;
const SSL_CTRL_SET_MAX_PROTO_VERSION: c_int = 124;
const TLS1_2_VERSION: c_long = 0x0303;
const SSL_ERROR_WANT_READ: c_int = 2;

type Ptr = *mut c_void;

/// The functions, by their own names.
#[allow(non_snake_case)]
struct Functions {
    OpenSSL_version: unsafe extern "C" fn(c_int) -> *const c_char,
    TLS_method: unsafe extern "C" fn() -> *const c_void,
    SSL_CTX_new: unsafe extern "C" fn(*const c_void) -> Ptr,
    SSL_CTX_free: unsafe extern "C" fn(Ptr),
    SSL_CTX_ctrl: unsafe extern "C" fn(Ptr, c_int, c_long, Ptr) -> c_long,
    SSL_CTX_set_cipher_list: unsafe extern "C" fn(Ptr, *const c_char) -> c_int,
    SSL_new: unsafe extern "C" fn(Ptr) -> Ptr,
    SSL_free: unsafe extern "C" fn(Ptr),
    SSL_set_bio: unsafe extern "C" fn(Ptr, Ptr, Ptr),
    SSL_set_accept_state: unsafe extern "C" fn(Ptr),
    SSL_set_connect_state: unsafe extern "C" fn(Ptr),
    SSL_do_handshake: unsafe extern "C" fn(Ptr) -> c_int,
    SSL_get_error: unsafe extern "C" fn(*const c_void, c_int) -> c_int,
    SSL_read: unsafe extern "C" fn(Ptr, Ptr, c_int) -> c_int,
    SSL_write: unsafe extern "C" fn(Ptr, *const c_void, c_int) -> c_int,
    BIO_s_mem: unsafe extern "C" fn() -> *const c_void,
    BIO_new: unsafe extern "C" fn(*const c_void) -> Ptr,
    BIO_up_ref: unsafe extern "C" fn(Ptr) -> c_int,
    BIO_free: unsafe extern "C" fn(Ptr) -> c_int,
}

/// The loaded library.
pub struct OpenSsl {
    functions: Functions,
    // Never closed: OpenSSL runs code of its own when the process exits.
    _library: std::mem::ManuallyDrop<Library>,
}

impl OpenSsl {
    /// Loads the first one that is there. `None` if there is none.
    pub fn load() -> Result<Option<Self>> {
        let Some((name, library)) = NAMES.into_iter().find_map(|name| {
            // SAFETY: runs the library's initialisers, which the system's OpenSSL may.
            Some((name, unsafe { Library::new(name) }.ok()?))
        }) else {
            return Ok(None);
        };
        let functions = Functions::find(&library)
            .map_err(|error| Error::invalid(format!("{name} is no OpenSSL we know: {error}")))?;
        Ok(Some(Self {
            functions,
            _library: std::mem::ManuallyDrop::new(library),
        }))
    }

    /// As it calls itself.
    pub fn version(&self) -> String {
        // SAFETY: 0 (OPENSSL_VERSION) gives a static text.
        let text = unsafe { std::ffi::CStr::from_ptr((self.functions.OpenSSL_version)(0)) };
        text.to_string_lossy().into_owned()
    }

    /// Addresses of the functions that move plaintext.
    pub fn data_functions(&self) -> [(&'static str, usize); 2] {
        [
            ("SSL_read", self.functions.SSL_read as usize),
            ("SSL_write", self.functions.SSL_write as usize),
        ]
    }

    /// A client and a server, joined in memory; the handshake is done.
    pub fn pair(&self) -> Result<Pair<'_>> {
        let context = Context::new(self)?;
        let (client, server) = (Connection::new(&context)?, Connection::new(&context)?);
        join(self, &client, &server)?;
        // SAFETY: both objects are live; these set a flag.
        unsafe {
            (self.functions.SSL_set_connect_state)(client.ssl);
            (self.functions.SSL_set_accept_state)(server.ssl);
        }
        // Each turn is one flight, and TLS 1.2 has four.
        for _ in 0..4 {
            let done = (client.handshake()?, server.handshake()?);
            if done == (true, true) {
                return Ok(Pair { client, server });
            }
        }
        Err(Error::invalid("the handshake does not end"))
    }
}

impl Functions {
    fn find(library: &Library) -> Result<Self, libloading::Error> {
        macro_rules! find {
            ($($name:ident),*) => {
                Self {
                    // SAFETY: the types are those of the manual pages; the pointers are used only
                    // while the library is loaded, which is for good.
                    $($name: unsafe { *library.get(concat!(stringify!($name), "\0"))? }),*
                }
            };
        }
        Ok(find!(
            OpenSSL_version,
            TLS_method,
            SSL_CTX_new,
            SSL_CTX_free,
            SSL_CTX_ctrl,
            SSL_CTX_set_cipher_list,
            SSL_new,
            SSL_free,
            SSL_set_bio,
            SSL_set_accept_state,
            SSL_set_connect_state,
            SSL_do_handshake,
            SSL_get_error,
            SSL_read,
            SSL_write,
            BIO_s_mem,
            BIO_new,
            BIO_up_ref,
            BIO_free
        ))
    }
}

fn there(ptr: Ptr, maker: &str) -> Result<Ptr> {
    (!ptr.is_null())
        .then_some(ptr)
        .or_invalid(|| format!("{maker} failed"))
}

/// Settings of connections.
struct Context<'l> {
    library: &'l OpenSsl,
    context: Ptr,
}

impl<'l> Context<'l> {
    fn new(library: &'l OpenSsl) -> Result<Self> {
        let functions = &library.functions;
        // SAFETY: the method is static; what is made is checked and owned below.
        let context = unsafe { (functions.SSL_CTX_new)((functions.TLS_method)()) };
        let context = Self {
            library,
            context: there(context, "SSL_CTX_new")?,
        };
        let set = |what, value| {
            // SAFETY: a live context, and two settings that take a number.
            unsafe { (functions.SSL_CTX_ctrl)(context.context, what, value, ptr::null_mut()) }
        };
        set(SSL_CTRL_SET_MAX_PROTO_VERSION, TLS1_2_VERSION);
        set(SSL_CTRL_SET_DH_AUTO, 1);
        // SAFETY: a live context; the text is static.
        let set = unsafe { (functions.SSL_CTX_set_cipher_list)(context.context, CIPHERS.as_ptr()) };
        if set != 1 {
            return Err(Error::invalid(
                "this OpenSSL has no anonymous cipher suites",
            ));
        }
        Ok(context)
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once; connections hold references of their own.
        unsafe { (self.library.functions.SSL_CTX_free)(self.context) }
    }
}

/// One end.
pub struct Connection<'l> {
    functions: &'l Functions,
    ssl: Ptr,
    library: PhantomData<&'l OpenSsl>,
}

impl<'l> Connection<'l> {
    fn new(context: &Context<'l>) -> Result<Self> {
        let functions = &context.library.functions;
        // SAFETY: a live context.
        let ssl = unsafe { (functions.SSL_new)(context.context) };
        Ok(Self {
            functions,
            ssl: there(ssl, "SSL_new")?,
            library: PhantomData,
        })
    }

    /// Goes on with the handshake. False: waits for the other end.
    fn handshake(&self) -> Result<bool> {
        // SAFETY: a live object with its BIOs.
        let result = unsafe { (self.functions.SSL_do_handshake)(self.ssl) };
        if result == 1 {
            return Ok(true);
        }
        // SAFETY: as above, right after the call that it asks about.
        match unsafe { (self.functions.SSL_get_error)(self.ssl, result) } {
            SSL_ERROR_WANT_READ => Ok(false),
            error => Err(Error::invalid(format!(
                "the handshake failed: SSL error {error}"
            ))),
        }
    }

    /// Sends all of it in one call.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        // SAFETY: a live object; the buffer is at least as long as stated.
        let written =
            unsafe { (self.functions.SSL_write)(self.ssl, bytes.as_ptr().cast(), length) };
        if written != length {
            return Err(Error::invalid(format!(
                "SSL_write took {written} of {length} bytes"
            )));
        }
        Ok(())
    }

    /// Receives that many bytes, in as many calls as it takes.
    pub fn read(&self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let room = c_int::try_from(rest.len()).unwrap_or(c_int::MAX);
            // SAFETY: a live object; the buffer is at least as long as stated.
            let read =
                unsafe { (self.functions.SSL_read)(self.ssl, rest.as_mut_ptr().cast(), room) };
            let read = usize::try_from(read).unwrap_or_default();
            if read == 0 {
                return Err(Error::invalid(format!("SSL_read lacks {room} bytes")));
            }
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(bytes)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once, with its BIOs.
        unsafe { (self.functions.SSL_free)(self.ssl) }
    }
}

/// Both ends.
pub struct Pair<'l> {
    /// The one that asked.
    pub client: Connection<'l>,
    /// The one that answered.
    pub server: Connection<'l>,
}

/// Two memory buffers: what one end writes is what the other reads.
fn join(library: &OpenSsl, client: &Connection<'_>, server: &Connection<'_>) -> Result<()> {
    let functions = &library.functions;
    let make = || {
        // SAFETY: the method is static.
        let buffer = unsafe { (functions.BIO_new)((functions.BIO_s_mem)()) };
        there(buffer, "BIO_new")
    };
    let to_server = make()?;
    let to_client = make().inspect_err(|_| {
        // SAFETY: ours, and given to nobody yet.
        unsafe { (functions.BIO_free)(to_server) };
    })?;
    // SAFETY: all four are live. SSL_set_bio takes one reference of each buffer that it is given, and
    // each is given twice.
    unsafe {
        (functions.BIO_up_ref)(to_server);
        (functions.BIO_up_ref)(to_client);
        (functions.SSL_set_bio)(client.ssl, to_client, to_server);
        (functions.SSL_set_bio)(server.ssl, to_server, to_client);
    }
    Ok(())
}
