//! Programs that register functions as CUDA's compilers do, and files that are not what they claim.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use object::{Object as _, ObjectSymbol as _};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Registers in every way that compilers do: by a function that is passed on (nvcc), by one that is
/// called (clang), at once, and by one that ends with the call. What must not be taken for names: a
/// number, what can be changed, and what is registered in a loop.
const PROGRAM: &str = r#"
typedef void **Image;
extern Image __cudaRegisterFatBinary(void *);
extern void __cudaRegisterFunction(Image, const void *, char *, const char *, int, void *, void *,
                                   void *, void *, int *);
extern int __cudaGetKernel(void **, const void *);
extern int __cudaLaunchKernel(void *);

#define STUB(name)                                                                                 \
    __attribute__((noinline)) void name(void) {                                                    \
        static void *handle;                                                                       \
        static volatile char asked;                                                                \
        if (!asked) {                                                                              \
            asked = __cudaGetKernel(&handle, (const void *)name) == 0;                             \
        }                                                                                          \
        __cudaLaunchKernel(handle);                                                                \
    }
STUB(stub_a) STUB(stub_b) STUB(stub_c) STUB(stub_d) STUB(stub_loop) STUB(stub_number)
STUB(stub_changed) STUB(stub_twice)

#define REGISTER(stub, name)                                                                       \
    __cudaRegisterFunction(image, (const void *)stub, (char *)name, name, -1, 0, 0, 0, 0, 0)

static void callback(Image image) {
    REGISTER(stub_a, "_Z6matmulPfS_i");
    REGISTER(stub_b, "_Z5scaleIfEvPT_S0_i");
}

__attribute__((noipa)) static void pass_on(void (*volatile function)(Image), Image image) {
    function(image);
}

__attribute__((noinline)) static void directly(Image image) {
    REGISTER(stub_c, "plain");
}

static char changed[] = "changed";
char **texts;
int count;

__attribute__((constructor)) static void begin(void) {
    Image image = __cudaRegisterFatBinary(0);
    pass_on(callback, image);
    directly(image);
    REGISTER(stub_changed, changed);
    REGISTER(stub_number, (char *)17);
    REGISTER(stub_twice, "once");
    REGISTER(stub_twice, "otherwise");
    char *name = "first";
    for (int each = 0; each < count; each++) {
        REGISTER(stub_loop, name);
        name = texts[each];
    }
}

__attribute__((constructor)) static void last(void) {
    REGISTER_LAST
}

int main(void) { return 0; }
"#;

const LIBRARY: &str = "
void **__cudaRegisterFatBinary(void *image) { return 0; }
void __cudaRegisterFunction(void **image) {}
int __cudaGetKernel(void **kernel, void *function) { return 0; }
int __cudaLaunchKernel(void *kernel) { return 0; }
";

/// What is registered, by the names of the functions.
const EXPECTED: [(&str, &str); 4] = [
    ("stub_a", "_Z6matmulPfS_i"),
    ("stub_b", "_Z5scaleIfEvPT_S0_i"),
    ("stub_c", "plain"),
    ("stub_d", "last"),
];

fn cc(arguments: &[&str], files: &[&Path]) {
    let mut compiler = Command::new("cc");
    compiler.args(arguments).args(files);
    let status = compiler
        .status()
        .expect("this test compiles a program: install a C compiler as `cc` (package gcc)");
    assert!(status.success(), "{compiler:?}");
}

/// The program with its symbols, and the same stripped.
fn build(flags: &[&str]) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("library.c"), LIBRARY).unwrap();
    let program = PROGRAM.replace(
        "REGISTER_LAST",
        "Image image = 0; REGISTER(stub_d, \"last\");",
    );
    fs::write(at("program.c"), program).unwrap();
    let output = at("libcudart.so");
    cc(&["-shared", "-fPIC", "-o"], &[&output, &at("library.c")]);
    let mut arguments = flags.to_vec();
    let is_static = flags.contains(&"-DSTATIC");
    let runtime = if is_static { at("library.c") } else { output };
    arguments.push("-o");
    let files = [at("program"), at("program.c"), runtime];
    cc(&arguments, &[&files[0], &files[1], &files[2]]);
    let stripped = at("stripped");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&stripped).arg(&files[0]);
    assert!(strip.status().unwrap().success());
    let program = at("program");
    (folder, program, stripped)
}

/// The address of each function that is named `stub_…`.
fn stubs_of(program: &Path) -> HashMap<String, u64> {
    let bytes = fs::read(program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let symbols = file.symbols();
    let symbols = symbols.filter_map(|symbol| {
        let name = symbol.name().ok()?;
        let is_stub = name.starts_with("stub_");
        is_stub.then(|| (name.to_owned(), symbol.address()))
    });
    symbols.collect()
}

/// What is read of a file: the symbol of each function by its address.
fn read(path: &Path, addresses: &HashMap<String, u64>) -> HashMap<String, String> {
    let file = File::open(path).unwrap();
    let stubs = Stubs::read(&file, &mut (64 << 20)).unwrap();
    let cache = ReadCache::new(&file);
    let elf = Elf::parse(&cache).unwrap();
    let names = addresses.iter().filter_map(|(name, address)| {
        let symbol = stubs.symbol(&elf, &file, *address)?;
        assert!(!symbol.cut);
        Some((name.clone(), String::from_utf8(symbol.text).unwrap()))
    });
    names.collect()
}

fn expected() -> HashMap<String, String> {
    let expected = EXPECTED.into_iter();
    expected
        .map(|(stub, name)| (stub.to_owned(), name.to_owned()))
        .collect()
}

/// How programs are built.
const BUILDS: [&[&str]; 9] = [
    &["-O0", "-fPIE", "-pie"],
    &["-O2", "-fPIE", "-pie"],
    &["-O3", "-fPIE", "-pie", "-Wl,-z,now"],
    &["-O0", "-fno-pie", "-no-pie"],
    &["-O2", "-fno-pie", "-no-pie"],
    &["-Os", "-fPIE", "-pie", "-fno-plt"],
    &[
        "-O2",
        "-fPIE",
        "-pie",
        "-fcf-protection=full",
        "-Wl,-z,ibtplt",
    ],
    &["-O2", "-fPIC", "-shared", "-fvisibility=hidden"],
    &["-O1", "-fPIE", "-pie", "-Wl,-z,pack-relative-relocs"],
];

#[test]
fn what_is_registered_is_read_from_stripped_programs() {
    for flags in BUILDS {
        let (_folder, program, stripped) = build(flags);
        let addresses = stubs_of(&program);
        assert_eq!(addresses.len(), 8);
        assert_eq!(read(&stripped, &addresses), expected(), "{flags:?}");
    }
}

#[test]
fn a_runtime_in_the_program_is_known_by_its_symbols() {
    let (_folder, program, stripped) = build(&["-O2", "-DSTATIC"]);
    let addresses = stubs_of(&program);
    assert_eq!(read(&program, &addresses), expected());
    assert_eq!(read(&stripped, &addresses), HashMap::new());
}

#[test]
fn handles_are_in_the_variables_that_functions_pass_on() {
    for flags in BUILDS {
        let (_folder, program, stripped) = build(flags);
        let addresses = stubs_of(&program);
        let file = File::open(&stripped).unwrap();
        let mut stubs = Stubs::read(&file, &mut (64 << 20)).unwrap();
        let handles = stubs.handles(&file, &mut (64 << 20)).unwrap().to_vec();
        let of = |stub: &str| {
            handles
                .iter()
                .filter(|each| each.stub == addresses[stub])
                .count()
        };
        for (stub, symbol) in EXPECTED {
            assert_eq!(of(stub), 1, "{flags:?} {stub}: {handles:?}");
            let handle = handles.iter().find(|each| each.stub == addresses[stub]);
            let text = stubs.symbol_of(&file, *handle.unwrap()).unwrap().text;
            assert_eq!(str::from_utf8(&text).unwrap(), symbol);
        }
        let mut variables: Vec<u64> = handles.iter().map(|each| each.variable).collect();
        variables.sort_unstable();
        variables.dedup();
        assert_eq!(variables.len(), handles.len());
    }
}

#[test]
fn what_is_read_is_paid_for() {
    let (_folder, _, stripped) = build(&["-O2"]);
    let file = File::open(&stripped).unwrap();
    let mut budget = START_BYTES - 1;
    assert_eq!(
        Stubs::read(&file, &mut budget).err(),
        Some(Problem::TooMuch)
    );
    let mut budget = 64 << 20;
    let mut stubs = Stubs::read(&file, &mut budget).unwrap();
    let paid = (64 << 20) - budget;
    assert!((500..100_000).contains(&paid), "{paid}");
    assert_eq!(stubs.handles(&file, &mut 1).err(), Some(Problem::TooMuch));
    // A file that registers nothing costs its table of names.
    let file = File::open("/proc/self/exe").unwrap();
    assert_eq!(Stubs::read(&file, &mut (1 << 30)).unwrap().len(), 0);
}

/// The headers of sections, and where in the file each stands.
fn sections(bytes: &[u8]) -> Vec<usize> {
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let first = usize::try_from(word(40)).unwrap();
    let count = usize::from(u16::from_ne_bytes(bytes[60..62].try_into().unwrap()));
    (0..count).map(|number| first + 64 * number).collect()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Reads all there is; nothing is to panic, and no more to be read than may be.
fn everything(file: &File) {
    let mut budget = 64 << 20;
    if let Ok(mut stubs) = Stubs::read(file, &mut budget) {
        assert!(stubs.len() <= MAX_STUBS);
        let _ = stubs.handles(file, &mut budget);
        stubs.symbols(file, &[0, 64, 0x1100, u64::MAX]);
    }
    assert!(budget <= 64 << 20);
}

#[test]
fn sections_that_claim_gigabytes_are_not_read() {
    let (_folder, _, stripped) = build(&["-O2"]);
    let bytes = fs::read(&stripped).unwrap();
    for section in sections(&bytes) {
        for claimed in [4_u64 << 30, 8 << 20, u64::MAX, u64::MAX - 7] {
            let mut bytes = bytes.clone();
            bytes[section + 32..section + 40].copy_from_slice(&claimed.to_ne_bytes());
            everything(&file_of(&bytes));
            let sparse = file_of(&bytes);
            sparse.set_len(8 << 30).unwrap();
            everything(&sparse);
        }
    }
}

#[test]
fn a_file_of_more_parts_than_any_has_is_malformed() {
    let mut bytes = vec![0_u8; 64];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    bytes[16..20].copy_from_slice(&[3, 0, 62, 0]);
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[52..64].copy_from_slice(&[64, 0, 56, 0, 0xfe, 0xff, 64, 0, 1, 0, 0, 0]);
    let table = bytes.len() + 0xfffe * 56;
    bytes[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    bytes.resize(table + 64, 0);
    let read = |bytes: &[u8]| Stubs::read(&file_of(bytes), &mut (64 << 20)).map(|_| ());
    assert_eq!(read(&bytes), Ok(()));
    for segment in 0..0xfffe {
        bytes[64 + segment * 56] = 1;
    }
    assert_eq!(read(&bytes), Err(Problem::Malformed));
}

#[test]
fn code_without_an_end_is_left() {
    // A start that does nothing, for gigabytes: segments may claim any size.
    let (_folder, program, stripped) = build(&["-O2"]);
    let bytes = fs::read(&stripped).unwrap();
    let bytes_before = fs::read(&program).unwrap();
    let file = object::File::parse(&*bytes_before).unwrap();
    let begin = file.symbols().find(|symbol| symbol.name() == Ok("begin"));
    let begin = begin.unwrap().address();
    let file = file_of(&bytes);
    file.set_len(8 << 30).unwrap();
    let header = u64::from_ne_bytes(bytes[32..40].try_into().unwrap());
    for segment in 0..u64::from(bytes[56]) {
        let at = header + 56 * segment;
        if bytes[usize::try_from(at).unwrap() + 4] & 1 == 1 {
            file.write_all_at(&(4_u64 << 30).to_ne_bytes(), at + 32)
                .unwrap();
            file.write_all_at(&(4_u64 << 30).to_ne_bytes(), at + 40)
                .unwrap();
        }
    }
    let mut nothing = vec![0x90_u8; 16 << 20];
    file.write_all_at(&nothing, begin).unwrap();
    let mut budget = 64 << 20;
    let _ = Stubs::read(&file, &mut budget);
    assert!(budget >= (64 << 20) - START_BYTES - (1 << 20), "{budget}");
    // Calls of everything.
    for (place, byte) in nothing.iter_mut().enumerate() {
        *byte = [0xe8, 0, 1, 0, 0][place % 5];
    }
    file.write_all_at(&nothing, begin).unwrap();
    everything(&file);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn changed_bytes_do_no_harm(
        changes in proptest::collection::vec((0_usize..40_000, any::<u8>()), 1..200),
        headers in proptest::collection::vec((0_usize..2_500, any::<u8>()), 0..10),
        cut in 0_usize..20_000,
    ) {
        thread_local! {
            static BYTES: Vec<u8> = fs::read(build(&["-O1"]).2).unwrap();
        }
        let mut bytes = BYTES.with(Clone::clone);
        let size = bytes.len();
        for (place, byte) in changes {
            bytes[64 + place % (size - 64)] ^= byte & 0x11;
        }
        let first = size - 2_500;
        for (place, byte) in headers {
            bytes[first + place] = byte;
        }
        everything(&file_of(&bytes));
        bytes.truncate(size.saturating_sub(cut));
        everything(&file_of(&bytes));
    }

    #[test]
    fn any_code_is_looked_at(code in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        let mut bytes = vec![0_u8; 64 + 56 + 64];
        bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        bytes[16..20].copy_from_slice(&[3, 0, 62, 0]);
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[40..48].copy_from_slice(&120_u64.to_le_bytes());
        bytes[52..64].copy_from_slice(&[64, 0, 56, 0, 1, 0, 64, 0, 1, 0, 0, 0]);
        let size = (184 + code.len()) as u64;
        for (place, value) in [(64, 1 | 5 << 32), (96, size), (104, size)] {
            bytes[place..place + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
        bytes.extend(&code);
        let file = file_of(&bytes);
        let cache = ReadCache::new(&file);
        let elf = Elf::parse(&cache).unwrap();
        let mut code = Code::new(&elf, &file, 1 << 20);
        let mut events = 0;
        code.walk(184, 1 << 20, &mut |_| events += 1);
        prop_assert!(events <= size);
        prop_assert!(code.read() <= size + 1_024);
    }
}
