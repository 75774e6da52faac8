"""Shapes in which a list could show the tool `secret` to some reader."""

from __future__ import annotations

ENTRY = '{"name":"secret","inputSchema":{}}'
LIST = '{"jsonrpc":"2.0","id":1,"result":{"tools":[%s]}}' % ENTRY  # noqa: UP031

SHAPES = {
    "plain": LIST,
    "key in other case": LIST.replace('"tools"', '"Tools"'),
    "key with a long s": LIST.replace('"tools"', '"tool\u017f"'),
    "key with an escaped long s": LIST.replace('"tools"', '"tool\\u017f"'),
    "key with an escape": LIST.replace('"tools"', '"t\\u006fols"'),
    "key with an escape in capitals": LIST.replace('"tools"', '"T\\u004FOLS"'),
    "result in other case": LIST.replace('"result"', '"Result"'),
    "result with a long s": LIST.replace('"result"', '"re\u017fult"'),
    "two lists": LIST.replace('"tools"', '"tools":[],"tools"'),
    "two lists by case": LIST.replace('"tools"', '"tools":[],"TOOLS"'),
    "two results by case": LIST.replace('"result"', '"result":{},"RESULT"'),
    "in params": LIST.replace('"id":1,', '"method":"notifications/x",').replace("result", "params"),
    "in an array": f"[{LIST}]",
    "name with an escape": LIST.replace('"secret"', '"secre\\u0074"'),
    "key of the name with an escape": LIST.replace('"name"', '"n\\u0061me"'),
    "two names by case": LIST.replace('"name"', '"name":"open","Name"'),
    "two names by case, the other way": LIST.replace('"name":', '"NAME":"x","name":'),
    "name in other case alone": LIST.replace('"name"', '"Name"'),
    "two names": LIST.replace('"name"', '"name":"open","name"'),
    "name in an array": LIST.replace('"secret"', '["secret"]'),
    "entry a string": LIST.replace(ENTRY, '"secret"'),
    "entry in an array": LIST.replace(ENTRY, f"[{ENTRY}]"),
    "a lone surrogate beside it": LIST.replace(ENTRY, ENTRY + ',{"name":"\\ud800"}'),
    "a number beyond range beside it": LIST.replace(ENTRY, ENTRY + ',{"name":"a","x":1e999}'),
    "NaN beside it": LIST.replace(ENTRY, ENTRY + ',{"name":"a","x":NaN}'),
    "a comma too many": LIST.replace(ENTRY, ENTRY + ","),
    "a byte order mark": "\ufeff" + LIST,
    "two documents": LIST + LIST,
    "a text behind it": LIST + "x",
    "unfinished": LIST[:-1],
    "a nul behind it": LIST + "\0",
}
