// SPDX-License-Identifier: GPL-2.0

//! The attribute macros of the kernel crate's stand-in.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Takes the fields' `#[pin]` away: the stand-ins may be moved.
#[proc_macro_attribute]
pub fn pin_data(_: TokenStream, item: TokenStream) -> TokenStream {
    without_pin(item)
}

fn without_pin(tokens: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if is_pin(&group) => {
                // The `#` before it.
                kept.pop();
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inner = without_pin(group.stream());
                kept.push(Group::new(Delimiter::Brace, inner).into());
            }
            other => kept.push(other),
        }
    }
    kept.into_iter().collect()
}

fn is_pin(group: &Group) -> bool {
    group.delimiter() == Delimiter::Bracket && group.stream().to_string() == "pin"
}
