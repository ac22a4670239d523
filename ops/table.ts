/** A plain text table: columns as wide as their widest cell, the last one free. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map(row => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (column === header.length - 1 ? cell : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd();
  return [
    line(header),
    line(
      widths.map((width, column) => '-'.repeat(column === header.length - 1 ? Math.min(width, 60) : width)),
    ),
    ...rows.map(line),
  ].join('\n');
}
