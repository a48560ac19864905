/** Lets the reader of the page download a text as a file. */
export function save(name: string, text: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A button below each table of numbers that saves it. */
export function offerTables(name: string, toText: (table: HTMLTableElement) => string): void {
  const tables = document.querySelectorAll<HTMLTableElement>(".tables table");
  tables.forEach((table, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "save";
    button.textContent = "Save as CSV";
    button.addEventListener("click", () => save(`${name}-table-${index + 1}.csv`, toText(table), "text/csv"));
    (table.closest(".scroll") ?? table).after(button);
  });
}
