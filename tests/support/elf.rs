//! Writes small ELF files of either class and byte order, honest ones and others: linkers make
//! neither the machines nor the lies that the tests need. Layout: System V ABI, "Object Files".

/// Code of each function; there is nothing to run.
const FUNCTION_SIZE: u64 = 64;

pub const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
pub const PT_NOTE: u32 = 4;

pub const SHT_PROGBITS: u32 = 1;
pub const SHT_SYMTAB: u32 = 2;
pub const SHT_STRTAB: u32 = 3;
pub const SHF_COMPRESSED: u64 = 1 << 11;

pub const DT_HASH: u64 = 4;
pub const DT_STRTAB: u64 = 5;
pub const DT_SYMTAB: u64 = 6;
pub const DT_STRSZ: u64 = 10;
pub const DT_VERSYM: u64 = 0x6fff_fff0;
pub const DT_VERDEF: u64 = 0x6fff_fffc;
pub const DT_VERDEFNUM: u64 = 0x6fff_fffd;

/// Code is loaded here, tables there: neither is the file offset, nor a constant away from it.
const CODE_BASE: u64 = 0x0040_0000;
const TABLE_BASE: u64 = 0x0070_0000;

/// Class, byte order and `e_machine`.
#[derive(Clone, Copy)]
pub struct Target {
    pub is_64: bool,
    pub is_big: bool,
    pub machine: u16,
}

pub const X86_64: Target = Target {
    is_64: true,
    is_big: false,
    machine: 62,
};

/// Bytes in the target's layout.
pub struct Out {
    pub bytes: Vec<u8>,
    target: Target,
}

impl Out {
    pub fn new(target: Target) -> Self {
        Self {
            bytes: Vec::new(),
            target,
        }
    }

    fn number(&mut self, value: u64, size: usize) -> &mut Self {
        let little = value.to_le_bytes();
        let mut part = little[..size].to_vec();
        if self.target.is_big {
            part.reverse();
        }
        self.bytes.extend(part);
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.number(u64::from(value), 1)
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.number(u64::from(value), 2)
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.number(u64::from(value), 4)
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.number(value, 8)
    }

    /// As wide as an address.
    pub fn word(&mut self, value: u64) -> &mut Self {
        self.number(value, if self.target.is_64 { 8 } else { 4 })
    }

    pub fn text(&mut self, text: &[u8]) -> &mut Self {
        self.bytes.extend(text);
        self
    }
}

struct Section {
    name: String,
    kind: u32,
    flags: u64,
    data: Vec<u8>,
}

/// A program header: bytes of the file and where they are in memory.
#[derive(Clone, Copy)]
pub struct Load {
    pub kind: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub size: u64,
    pub executable: bool,
}

/// A file in the making.
pub struct Builder {
    target: Target,
    functions: Vec<(String, u8)>,
    sections: Vec<Section>,
    dynamic: Option<Vec<(u64, Table)>>,
    loads: Vec<Load>,
    names_offset: Option<u32>,
    address_bit: u64,
    is_code: bool,
}

/// The value of a dynamic entry.
#[derive(Clone)]
pub enum Table {
    /// The address of these bytes, which are loaded.
    At(Vec<u8>),
    Value(u64),
}

const STT_FUNC: u8 = 2;

const EM_S390: u16 = 22;

impl Builder {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            functions: Vec::new(),
            sections: Vec::new(),
            dynamic: None,
            loads: Vec::new(),
            names_offset: None,
            address_bit: 0,
            is_code: true,
        }
    }

    /// Defines functions, one behind the other.
    pub fn functions<S: AsRef<str>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.symbols(names, STT_FUNC)
    }

    /// Defines symbols of type `kind`, one behind the other.
    pub fn symbols<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>, kind: u8) -> Self {
        let all = names
            .into_iter()
            .map(|name| (name.as_ref().to_owned(), kind));
        self.functions.extend(all);
        self
    }

    /// Sets this bit in each symbol's value (Thumb).
    pub fn address_bit(mut self, bit: u64) -> Self {
        self.address_bit = bit;
        self
    }

    /// What the symbols point to is loaded, but not executable.
    pub fn not_code(mut self) -> Self {
        self.is_code = false;
        self
    }

    /// Each symbol's name is at this offset of the string table.
    pub fn names_at(mut self, offset: u32) -> Self {
        self.names_offset = Some(offset);
        self
    }

    pub fn section(mut self, name: &str, kind: u32, flags: u64, data: Vec<u8>) -> Self {
        self.sections.push(Section {
            name: name.to_owned(),
            kind,
            flags,
            data,
        });
        self
    }

    /// A `DT_HASH` with one bucket for all symbols: only its counts matter here.
    pub fn hash(&self) -> Table {
        // s390x has 64-bit hash tables: binutils bfd/elf64-s390.c, s390_elf64_size_info.
        let wide = self.target.is_64 && self.target.machine == EM_S390;
        let count = self.functions.len() as u64 + 1;
        let mut out = Out::new(self.target);
        // nbucket, nchain, the bucket, then the chain 0, 2, 3, … back to 0.
        let chain = (1..=count).map(|next| if next == 1 || next == count { 0 } else { next });
        for value in [1, count, 1].into_iter().chain(chain) {
            out.number(value, if wide { 8 } else { 4 });
        }
        Table::At(out.bytes)
    }

    /// The symbols go to the dynamic segment instead of `.symtab`, and no section header is written.
    /// `more` comes before the entries that describe the symbols, and so is believed first.
    pub fn dynamic(mut self, more: Vec<(u64, Table)>) -> Self {
        self.dynamic = Some(more);
        self
    }

    pub fn load(mut self, load: Load) -> Self {
        self.loads.push(load);
        self
    }

    /// Where the code of the functions is, for segments that claim it too.
    pub fn code_load(&self) -> Load {
        let size = FUNCTION_SIZE * (self.functions.len() as u64 + 1);
        // A page per function count: the offset is never 0 and never the address.
        let offset = 0x1000u64.max((self.header_size() as u64).next_multiple_of(0x1000));
        Load {
            kind: PT_LOAD,
            offset,
            vaddr: CODE_BASE + offset * 2,
            size,
            executable: self.is_code,
        }
    }

    fn header_size(&self) -> usize {
        let (file, program) = if self.target.is_64 {
            (64, 56)
        } else {
            (52, 32)
        };
        file + program * (self.loads.len() + 3)
    }

    /// Symbol table and strings.
    fn tables(&self) -> (Vec<u8>, Vec<u8>) {
        let code = self.code_load();
        let mut strings = vec![0];
        let mut out = Out::new(self.target);
        self.symbol(&mut out, 0, 0, 0);
        for (n, (name, kind)) in self.functions.iter().enumerate() {
            let at = self.names_offset.unwrap_or(strings.len() as u32);
            strings.extend(name.as_bytes());
            strings.push(0);
            let addr = code.vaddr + FUNCTION_SIZE * (n as u64 + 1);
            self.symbol(&mut out, at, addr | self.address_bit, 1 << 4 | kind);
        }
        (out.bytes, strings)
    }

    fn symbol(&self, out: &mut Out, name: u32, addr: u64, info: u8) {
        let (size, section) = if addr == 0 {
            (0, 0)
        } else {
            (FUNCTION_SIZE, 1)
        };
        out.u32(name);
        if self.target.is_64 {
            out.u8(info).u8(0).u16(section).u64(addr).u64(size);
        } else {
            out.word(addr).word(size).u8(info).u8(0).u16(section);
        }
    }

    pub fn build(self) -> Vec<u8> {
        let code = self.code_load();
        let mut body = Out::new(self.target);
        body.bytes.resize(
            (code.offset + code.size).next_multiple_of(16) as usize,
            0xcc,
        );
        let (tables, dynamic) = self.write_dynamic(&mut body);
        let section_table = self.write_sections(&mut body);
        let mut head = Out::new(self.target);
        self.write_header(&mut head, section_table);
        self.write_programs(&mut head, [code, tables], dynamic);
        assert!(head.bytes.len() <= code.offset as usize);
        body.bytes[..head.bytes.len()].copy_from_slice(&head.bytes);
        body.bytes
    }

    /// The loaded tables, and offset and size of the dynamic section in it.
    fn write_dynamic(&self, body: &mut Out) -> (Load, Option<(u64, u64)>) {
        let start = body.bytes.len() as u64;
        let load = |size| Load {
            kind: PT_LOAD,
            offset: start,
            vaddr: TABLE_BASE + start,
            size,
            executable: false,
        };
        let Some(more) = &self.dynamic else {
            return (load(0), None);
        };
        let (symbols, strings) = self.tables();
        let mut entries = more.clone();
        entries.push((DT_STRSZ, Table::Value(strings.len() as u64)));
        entries.push((DT_SYMTAB, Table::At(symbols)));
        entries.push((DT_STRTAB, Table::At(strings)));
        let mut list = Out::new(self.target);
        for (tag, value) in entries {
            let value = match value {
                Table::Value(value) => value,
                Table::At(data) => {
                    let addr = TABLE_BASE + body.bytes.len() as u64;
                    body.text(&data);
                    body.bytes.resize(body.bytes.len().next_multiple_of(8), 0);
                    addr
                }
            };
            list.word(tag).word(value);
        }
        list.word(0).word(0);
        let at = body.bytes.len() as u64;
        body.text(&list.bytes);
        let size = body.bytes.len() as u64 - start;
        (load(size), Some((at, list.bytes.len() as u64)))
    }

    /// Contents and headers; where the headers are and how many.
    fn write_sections(&self, body: &mut Out) -> (u64, u16) {
        if self.dynamic.is_some() {
            return (0, 0);
        }
        let (symbols, strings) = self.tables();
        let own = [
            (".shstrtab", SHT_STRTAB, 0, Vec::new()),
            (".symtab", SHT_SYMTAB, 0, symbols),
            (".strtab", SHT_STRTAB, 0, strings),
        ];
        let own = own.into_iter().map(|(name, kind, flags, data)| Section {
            name: name.to_owned(),
            kind,
            flags,
            data,
        });
        let given = self.sections.iter().map(|section| Section {
            name: section.name.clone(),
            data: section.data.clone(),
            ..*section
        });
        let mut all: Vec<Section> = own.chain(given).collect();
        let mut names = vec![0];
        let name_offsets: Vec<u32> = all
            .iter()
            .map(|section| {
                let at = names.len() as u32;
                names.extend(section.name.as_bytes());
                names.push(0);
                at
            })
            .collect();
        all[0].data = names;
        let mut headers = Out::new(self.target);
        self.section_header(&mut headers, 0, 0, 0, 0, 0, 0);
        for (section, name) in all.iter().zip(name_offsets) {
            let (at, size) = (body.bytes.len() as u64, section.data.len() as u64);
            body.text(&section.data);
            body.bytes.resize(body.bytes.len().next_multiple_of(8), 0);
            let link = if section.kind == SHT_SYMTAB { 3 } else { 0 };
            self.section_header(
                &mut headers,
                name,
                section.kind,
                section.flags,
                at,
                size,
                link,
            );
        }
        let at = body.bytes.len() as u64;
        body.text(&headers.bytes);
        (at, all.len() as u16 + 1)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a section header")]
    fn section_header(
        &self,
        out: &mut Out,
        name: u32,
        kind: u32,
        flags: u64,
        offset: u64,
        size: u64,
        link: u32,
    ) {
        let entry = match (kind, self.target.is_64) {
            (SHT_SYMTAB, true) => 24,
            (SHT_SYMTAB, false) => 16,
            _ => 0,
        };
        out.u32(name)
            .u32(kind)
            .word(flags)
            .word(0)
            .word(offset)
            .word(size);
        out.u32(link).u32(0).word(1).word(entry);
    }

    fn write_header(&self, head: &mut Out, (sections, section_count): (u64, u16)) {
        let (file, program, section) = if self.target.is_64 {
            (64, 56, 64)
        } else {
            (52, 32, 40)
        };
        let class = if self.target.is_64 { 2 } else { 1 };
        let order = if self.target.is_big { 2 } else { 1 };
        head.text(b"\x7fELF")
            .u8(class)
            .u8(order)
            .u8(1)
            .text(&[0; 9]);
        head.u16(2).u16(self.target.machine).u32(1);
        head.word(0).word(file).word(sections).u32(0);
        head.u16(file as u16)
            .u16(program)
            .u16(self.loads.len() as u16 + 3);
        head.u16(section)
            .u16(section_count)
            .u16(u16::from(section_count > 0));
    }

    fn write_programs(&self, head: &mut Out, own: [Load; 2], dynamic: Option<(u64, u64)>) {
        for load in own.iter().chain(&self.loads) {
            let flags = if load.executable { 5 } else { 4 };
            self.program_header(head, flags, *load);
        }
        let (offset, size) = dynamic.unwrap_or_default();
        let kind = if dynamic.is_some() { PT_DYNAMIC } else { 0 };
        let place = Load {
            kind,
            offset,
            vaddr: TABLE_BASE + offset,
            size,
            executable: false,
        };
        self.program_header(head, 4, place);
    }

    fn program_header(&self, head: &mut Out, flags: u32, load: Load) {
        head.u32(load.kind);
        if self.target.is_64 {
            head.u32(flags);
        }
        head.word(load.offset).word(load.vaddr).word(load.vaddr);
        head.word(load.size).word(load.size);
        if !self.target.is_64 {
            head.u32(flags);
        }
        head.word(1);
    }
}
