// Puts the cursor where the check found the fault. The page works without it: line and column stand there in words.
"use strict";
const text = document.getElementById("event-text");
if (text && text.dataset.line) {
    const lines = text.value.split("\n");
    const before = lines.slice(0, Number(text.dataset.line) - 1);
    const place = before.join("\n").length + (before.length ? 1 : 0) + Number(text.dataset.column) - 1;
    text.focus();
    text.setSelectionRange(place, place + 1);
}
