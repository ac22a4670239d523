const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';
/** IMF-fixdate, the obsolete RFC 850 form, and asctime's, in that order (RFC 9110 5.6.7). */
const FORMS = [
  /^\w{3}, (?<day>\d{2}) (?<month>\w{3}) (?<year>\d{4}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/,
  /^\w{6,9}, (?<day>\d{2})-(?<month>\w{3})-(?<year>\d{2}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/,
  /^\w{3} (?<month>\w{3}) (?<day>[ \d]\d) (?<time>\d{2}:\d{2}:\d{2}) (?<year>\d{4})$/,
];

/** Epoch milliseconds of an HTTP date, undefined for anything else; all three forms are in UTC, whatever zone is set. */
export function httpDate(text: string | undefined): number | undefined {
  const found = FORMS.map(form => form.exec(text?.trim() ?? '')).find(match => match !== null)?.groups;
  if (found === undefined) return undefined;
  const month = MONTHS.indexOf(found.month!) / 3;
  if (!Number.isInteger(month) || month < 0) return undefined;
  const [hours, minutes, seconds] = found.time!.split(':').map(Number) as [number, number, number];
  if (hours > 23 || minutes > 59 || seconds > 60) return undefined;
  const year = Number(found.year);
  const day = Number(found.day);
  // A year of two digits more than 50 years ahead is one of the last century.
  const full = found.year!.length === 4 ? year : centuryOf(year);
  const ms = Date.UTC(full, month, day, hours, minutes, seconds);
  return new Date(ms).getUTCDate() === day || seconds === 60 ? ms : undefined;
}

function centuryOf(year: number): number {
  const now = new Date().getUTCFullYear();
  const near = Math.floor(now / 100) * 100 + year;
  return near > now + 50 ? near - 100 : near;
}
