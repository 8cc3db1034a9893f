//! Components that no compiler would make: a core module written instruction by instruction, dressed as a stage.
//!
//! A forged stage reads nothing and passes its first column on, unless a part of it is replaced by something worse.

use std::borrow::Cow;

pub use wasm_encoder::MemoryType;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataSection, Encode, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, HeapType, ImportSection,
    Instruction as I, MemorySection, Module, RefType, StartSection, TableSection, TableType, TypeSection,
    ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What a function of a forged stage does.
#[derive(Debug, Clone)]
pub enum Body {
    /// What it should.
    Good,
    /// Traps.
    Trap,
    /// Never returns.
    Loop,
    /// Grows its table until it may not, then traps.
    GrowTable,
    /// Grows its memory by a page at a time until it may not, then traps.
    GrowMemory,
    /// Returns this number: a pointer to somewhere else.
    Returns(i32),
    /// Calls the host's log.
    CallsHost,
}

/// A stage to be; the default is harmless.
#[derive(Debug, Clone)]
pub struct Forge {
    /// Run when an instance starts.
    pub start: Body,
    /// The allocator that the host calls.
    pub realloc: Body,
    /// `describe`.
    pub describe: Body,
    /// `bind`.
    pub bind: Body,
    /// `process`.
    pub process: Body,
    /// Called after `process`, to free what it returned.
    pub post: Body,
    /// The JSON Schema that it publishes.
    pub config_schema: String,
    /// Bytes that lie otherwise than they should: address and content.
    pub patches: Vec<(usize, Vec<u8>)>,
    /// Memories beside its own.
    pub memories: Vec<MemoryType>,
    /// Elements of its table.
    pub table: u64,
    /// Functions that nobody calls, each of about a thousand instructions for every one of `length`.
    pub ballast: usize,
    /// Length of each of them.
    pub length: usize,
    /// An import beside the contract: package, interface, function.
    pub import: Option<[&'static str; 3]>,
}

impl Default for Forge {
    fn default() -> Self {
        Self {
            start: Body::Good,
            realloc: Body::Good,
            describe: Body::Good,
            bind: Body::Good,
            process: Body::Good,
            post: Body::Good,
            config_schema: String::new(),
            patches: Vec::new(),
            memories: Vec::new(),
            table: 0,
            ballast: 0,
            length: 0,
            import: None,
        }
    }
}

// Where the answers lie in its memory.
const DESCRIPTION: usize = 16;
const BINDING: usize = 96;
const OUTPUT: usize = 128;
/// Where the answer of `bind` describes its one column.
pub const COLUMN: usize = 160;
/// The answer of `process`: its first byte says whether it is an error, the list of emissions follows at 4.
pub const OUTCOME: usize = 192;
/// Its one emission: the output's number, at 4 the kind of the selection, at 8 its list.
pub const EMISSION: usize = 224;
const TEXT: usize = 1024;
/// Where the port's name lies: three bytes.
pub const NAME: usize = 1040;
const SCHEMA: usize = 2048;
/// Behind what a schema may need.
const HEAP: i32 = 1 << 20;
const PAGES: u64 = 48;
const PAGE: u64 = 64 << 10;

// The functions, in order: the host's, then its own.
const LOG: u32 = 0;
const TRANSFORM: &str = "pipe:stage/transform@0.1.0";

impl Forge {
    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let mut module = self.module();
        let mut resolve = Resolve::default();
        let contract = include_str!("../../wit/stage.wit");
        let fault = |e: &dyn std::fmt::Display| -> ! { panic!("the forge is broken: {e}") };
        resolve.push_str("stage.wit", contract).unwrap_or_else(|e| fault(&e));
        let own = resolve.push_str("forged.wit", &self.world()).unwrap_or_else(|e| fault(&e));
        let world = resolve.select_world(&[own], Some("forged")).unwrap_or_else(|e| fault(&e));
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .unwrap_or_else(|e| fault(&e));
        let encoder = ComponentEncoder::default().validate(false).module(&module);
        encoder.and_then(|mut encoder| encoder.encode()).unwrap_or_else(|e| fault(&format!("{e:#}")))
    }

    fn world(&self) -> String {
        let world = "package hostile:forged;\nworld forged { include pipe:stage/stage@0.1.0;";
        match self.import {
            None => format!("{world} }}"),
            Some([package, interface, function]) => {
                let (name, version) = package.split_once('@').unwrap_or((package, "1.0.0"));
                format!(
                    "{world} import {name}/{interface}@{version}; }}\n\
                     package {name}@{version} {{ interface {interface} {{ {function}: func(); }} }}"
                )
            }
        }
    }

    fn module(&self) -> Vec<u8> {
        use ValType::I32;
        let mut types = TypeSection::new();
        for (params, results) in [(3, 0), (0, 1), (4, 1), (3, 1), (1, 0), (0, 0)] {
            types.ty().function(vec![I32; params], vec![I32; results]);
        }
        let mut imports = ImportSection::new();
        imports.import("pipe:stage/host@0.1.0", "log", EntityType::Function(0));
        if let Some([package, interface, function]) = self.import {
            let (name, version) = package.split_once('@').unwrap_or((package, "1.0.0"));
            imports.import(&format!("{name}/{interface}@{version}"), function, EntityType::Function(5));
        }
        let first = 1 + u32::from(self.import.is_some());
        // describe, bind, process, post, realloc, start, then the ballast.
        let mut functions = FunctionSection::new();
        for ty in [1, 2, 3, 4, 2, 5].into_iter().chain(std::iter::repeat_n(5, self.ballast)) {
            functions.function(ty);
        }
        let mut tables = TableSection::new();
        let table = TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: self.table,
            maximum: None,
            shared: false,
        };
        tables.table(table);
        let mut memories = MemorySection::new();
        let own = MemoryType {
            minimum: PAGES,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        };
        memories.memory(own);
        for &memory in &self.memories {
            memories.memory(memory);
        }
        let mut globals = GlobalSection::new();
        let heap = GlobalType { val_type: I32, mutable: true, shared: false };
        globals.global(heap, &ConstExpr::i32_const(HEAP));
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export("cabi_realloc", ExportKind::Func, first + 4);
        for (name, at) in [("describe", 0), ("bind", 1), ("process", 2)] {
            exports.export(&format!("{TRANSFORM}#{name}"), ExportKind::Func, first + at);
        }
        exports.export(&format!("cabi_post_{TRANSFORM}#process"), ExportKind::Func, first + 3);
        let mut data = DataSection::new();
        for (at, bytes) in self.content() {
            data.active(0, &ConstExpr::i32_const(at as i32), bytes);
        }
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
        module.section(&globals).section(&exports).section(&StartSection { function_index: first + 5 });
        module.section(&self.code()).section(&data);
        module.finish()
    }

    fn code(&self) -> CodeSection {
        let mut code = CodeSection::new();
        let answers = [(&self.describe, DESCRIPTION), (&self.bind, BINDING), (&self.process, OUTCOME)];
        for (body, answer) in answers {
            // What the host wrote for the call before is forgotten.
            let good = [I::I32Const(HEAP), I::GlobalSet(0), I::I32Const(answer as i32)];
            code.function(&function(body, &good));
        }
        code.function(&function(&self.post, &[]));
        // Allocates upwards, at multiples of 8; what would lie beyond the memory traps where it is written.
        let allocate = [
            I::GlobalGet(0),
            I::I32Const(7),
            I::I32Add,
            I::I32Const(-8),
            I::I32And,
            I::GlobalSet(0),
            I::GlobalGet(0),
            I::GlobalGet(0),
            I::LocalGet(3),
            I::I32Add,
            I::GlobalSet(0),
        ];
        code.function(&function(&self.realloc, &allocate));
        code.function(&function(&self.start, &[]));
        for n in 0..self.ballast {
            code.function(&ballast(n, self.length));
        }
        code
    }

    /// What lies in its memory.
    fn content(&self) -> Vec<(usize, Vec<u8>)> {
        let words =
            |words: &[usize]| words.iter().flat_map(|&w| (w as u32).to_le_bytes()).collect::<Vec<u8>>();
        let schema = (SCHEMA, self.config_schema.len());
        let mut content = vec![
            (DESCRIPTION, words(&[TEXT, 6, TEXT, 6, TEXT, 6, schema.0, schema.1, TEXT, 6])),
            (BINDING, words(&[0, 0, 0, OUTPUT, 1])),
            (OUTPUT, words(&[NAME, 3, COLUMN, 1])),
            (COLUMN, words(&[0, 0, 0, 0, 0])),
            (OUTCOME, words(&[0, EMISSION, 1, 0, 0])),
            (EMISSION, words(&[0, 0, 0, 0, 0, 0])),
            (TEXT, b"forged".to_vec()),
            (NAME, b"out".to_vec()),
            (SCHEMA, self.config_schema.clone().into_bytes()),
        ];
        content.extend(self.patches.clone());
        content
    }
}

fn function(body: &Body, good: &[I<'static>]) -> Function {
    let forever = |inner: &[I<'static>]| {
        [&[I::Loop(BlockType::Empty)], inner, &[I::Br(0), I::End, I::Unreachable]].concat()
    };
    // A growth that is refused ends in a trap.
    let refused = [I::I32Const(-1), I::I32Eq, I::If(BlockType::Empty), I::Unreachable, I::End];
    let instructions = match body {
        Body::Good => good.to_vec(),
        Body::Trap => vec![I::Unreachable],
        Body::Loop => forever(&[]),
        Body::Returns(value) => vec![I::I32Const(*value)],
        Body::GrowTable => {
            let grow = [I::RefNull(HeapType::FUNC), I::I32Const(1 << 16), I::TableGrow(0)];
            forever(&[&grow[..], &refused].concat())
        }
        Body::GrowMemory => forever(&[&[I::I32Const(1), I::MemoryGrow(0)][..], &refused].concat()),
        Body::CallsHost => {
            let call = [I::I32Const(3), I::I32Const(TEXT as i32), I::I32Const(6), I::Call(LOG)];
            [&call[..], good].concat()
        }
    };
    of(&[], &instructions)
}

fn of(locals: &[(u32, ValType)], instructions: &[I<'static>]) -> Function {
    let mut function = Function::new(locals.to_vec());
    for instruction in instructions.iter().chain([&I::End]) {
        function.instruction(instruction);
    }
    function
}

/// A function that takes long to compile: branches over many live locals.
fn ballast(n: usize, length: usize) -> Function {
    let body = (0..length * 100).flat_map(|at| {
        let (a, b, c) = (at as u32 % 64, (at * 7 + n) as u32 % 64, (at * 13 + 5) as u32 % 64);
        let mixed = [I::LocalGet(a), I::LocalGet(b), I::I64Mul, I::LocalGet(c), I::I64Xor, I::LocalTee(b)];
        let kept = [I::I64Eqz, I::If(BlockType::Empty), I::LocalGet(c), I::LocalSet(a), I::End];
        mixed.into_iter().chain(kept)
    });
    of(&[(64, ValType::I64)], &body.collect::<Vec<_>>())
}

/// A component with so many bytes that mean nothing behind it.
pub fn padded(mut component: Vec<u8>, bytes: usize) -> Vec<u8> {
    let section = CustomSection { name: Cow::Borrowed("padding"), data: Cow::Owned(vec![0; bytes]) };
    component.push(0);
    section.encode(&mut component);
    component
}

/// Pages of a memory that holds so many bytes.
pub fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}
