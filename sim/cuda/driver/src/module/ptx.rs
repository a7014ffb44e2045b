//! Names in PTX, the text form of device code: its kernels and its variables. Understands nothing
//! of what they do.

use super::image::Contents;

/// What the text declares; absent if it is no PTX, which begins with its version.
pub(super) fn contents(text: &str) -> Option<Contents> {
    let code: String = text
        .lines()
        .map(|line| without_comment(line) + "\n")
        .collect();
    if !code.trim_start().starts_with(".version") {
        return None;
    }
    let kernels = code.split(".entry").skip(1).filter_map(|rest| {
        let name = rest.split(|c: char| c.is_whitespace() || matches!(c, '(' | '{'));
        name.map(str::to_owned).find(|word| !word.is_empty())
    });
    Some(Contents {
        kernels: kernels.collect(),
        globals: code.split(';').filter_map(global).collect(),
    })
}

fn without_comment(line: &str) -> String {
    line.split("//").next().unwrap_or_default().to_owned()
}

/// A variable like `.visible .global .align 4 .b8 name[64] = {…}`.
fn global(statement: &str) -> Option<(String, usize)> {
    let declared = statement.rsplit('\n').find(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| matches!(word, ".global" | ".const")) && !line.contains('(')
    })?;
    let declared = declared.split('=').next()?.trim();
    let (declared, count) = match declared.split_once('[') {
        Some((declared, count)) => (declared.trim(), count.trim_end_matches(']').parse().ok()?),
        None => (declared, 1),
    };
    let mut words = declared.split_whitespace().rev();
    let name = words.next()?;
    let bits: usize = words
        .next()?
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .ok()?;
    Some((name.to_owned(), (bits / 8).checked_mul(count)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_variables_are_found() {
        let text = "//\n// .entry not_this_one\n.version 7.8\n.target sm_80\n.address_size 64\n\
            .visible .const .align 4 .b8 coefficients[64];\n\
            .global .align 8 .u64 counter = 3;\n\
            .visible .entry _Z3addPf(\n\t.param .u64 a\n)\n{\n ld.global.f32 %f1, [%rd1];\n ret;\n}\n\
            .entry sub() { ret; }\n";
        let contents = contents(text).unwrap();
        assert_eq!(contents.kernels, ["_Z3addPf", "sub"]);
        let want = [("coefficients".to_owned(), 64), ("counter".to_owned(), 8)];
        assert_eq!(contents.globals, want);
    }

    #[test]
    fn other_text_is_none() {
        for text in ["", "hello", ".entry a()"] {
            assert_eq!(contents(text), None, "{text}");
        }
    }
}
