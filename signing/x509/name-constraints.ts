import type { Certificate } from './certificate.ts';
import { generalNameKinds as kinds, type GeneralName } from './extensions.ts';
import { emailOid, readName, type NameAttribute } from './names.ts';
import { refusal } from './rules.ts';

/**
 * Refuses `certificate` when a name of it is outside what `authority` permits (RFC 5280 4.2.1.10): its subject, its
 * subject alternative names, and an e-mail address in its subject. A kind of name that is constrained but not known here
 * is refused when it occurs.
 *
 * @throws E_CHAIN_INVALID (name-constraints).
 */
export function checkNameConstraints(authority: Certificate, certificate: Certificate): void {
  const { nameConstraints } = authority;
  if (!nameConstraints) return;
  for (const name of namesOf(certificate)) {
    const permitted = nameConstraints.permitted.filter(({ kind }) => kind === name.kind);
    const excluded = nameConstraints.excluded.filter(({ kind }) => kind === name.kind);
    const known = name.kind in matchers;
    if (permitted.length + excluded.length === 0) continue;
    if (
      !known ||
      (permitted.length > 0 && !permitted.some(base => matches(name, base, 'exact'))) ||
      excluded.some(base => matches(name, base, 'broad'))
    ) {
      throw refusal('name-constraints', {
        message: 'A certificate carries a name that its authority is not allowed to certify.',
        where: certificate.where,
        expected: `a name permitted by ${authority.subjectDn}`,
        found: describe(name),
        fix: 'Have it issued by an authority for that name, or with a name of this authority.',
      });
    }
  }
}

function namesOf(certificate: Certificate): GeneralName[] {
  const names: GeneralName[] = [...(certificate.subjectAltNames ?? [])];
  const subject = readName(certificate.subject);
  if (subject.length > 0) names.push({ kind: kinds.directory, bytes: certificate.subject });
  for (const { type, value } of subject.flat()) {
    if (type === emailOid) names.push({ kind: kinds.email, bytes: Buffer.from(value, 'utf8') });
  }
  return names;
}

const describe = ({ kind, bytes }: GeneralName): string => {
  const label = Object.entries(kinds).find(([, number]) => number === kind)?.[0] ?? `kind ${kind}`;
  if (kind === kinds.ip) return `${label} ${[...bytes].join('.')}`;
  return kind === kinds.directory ? 'its subject' : `${label} ${JSON.stringify(bytes.toString('latin1'))}`;
};

/** `exact` never takes more than it should (for permitted names), `broad` never less (for excluded names). */
type Mode = 'exact' | 'broad';

const matches = (name: GeneralName, base: GeneralName, mode: Mode): boolean =>
  matchers[name.kind]?.(name.bytes, base.bytes, mode) ?? mode === 'broad';

const matchers: Record<number, (name: Buffer, base: Buffer, mode: Mode) => boolean> = {
  [kinds.directory]: directoryMatches,
  [kinds.ip]: ipMatches,
  [kinds.dns]: (name, base, mode) => hostMatches(text(name), text(base), mode, true),
  [kinds.email]: (name, base, mode) => emailMatches(text(name), text(base), mode),
  [kinds.uri]: (name, base, mode) => uriMatches(text(name), text(base), mode),
};

const text = (bytes: Buffer): string => bytes.toString('latin1').toLowerCase();

function directoryMatches(name: Buffer, base: Buffer, mode: Mode): boolean {
  const rdns = readName(name);
  const bases = readName(base);
  return (
    bases.length <= rdns.length &&
    bases.every((rdn, index) => {
      const other = rdns[index]!;
      return rdn.length === other.length && rdn.every(attribute => other.some(same(attribute, mode)));
    })
  );
}

const same =
  (left: NameAttribute, mode: Mode) =>
  (right: NameAttribute): boolean =>
    left.type === right.type &&
    (mode === 'exact' ? left.value === right.value : folded(left.value) === folded(right.value));

/** Case and spaces do not count (RFC 5280 7.1). */
const folded = (value: string): string => value.normalize('NFKC').toLowerCase().trim().replace(/\s+/g, ' ');

function ipMatches(name: Buffer, base: Buffer, mode: Mode): boolean {
  const wellFormed = (name.length === 4 || name.length === 16) && (base.length === 8 || base.length === 32);
  if (!wellFormed) return mode === 'broad';
  if (base.length !== name.length * 2) return false;
  return name.every(
    (byte, index) => (byte & base[name.length + index]!) === (base[index]! & base[name.length + index]!),
  );
}

/** `below`: the base also covers names under it without a leading dot (DNS names; not e-mail hosts and URIs). */
function hostMatches(name: string, base: string, mode: Mode, below: boolean): boolean {
  if (base === '') return true;
  const host = name.replace(/\.$/, '');
  if (mode === 'broad' && host.startsWith('*.')) {
    const rest = host.slice(2);
    const bare = base.replace(/^\./, '');
    if (rest === bare || bare.endsWith(`.${rest}`) || rest.endsWith(`.${bare}`)) return true;
  }
  if (base.startsWith('.')) return host.endsWith(base) && host.length > base.length;
  return host === base || (below && host.endsWith(`.${base}`));
}

function emailMatches(name: string, base: string, mode: Mode): boolean {
  if (base.includes('@')) return name === base;
  const at = name.lastIndexOf('@');
  return at >= 0 ? hostMatches(name.slice(at + 1), base, mode, false) : mode === 'broad';
}

function uriMatches(name: string, base: string, mode: Mode): boolean {
  const host = URL.canParse(name) ? new URL(name).hostname : '';
  if (host === '' || host.startsWith('[') || /^[\d.]+$/.test(host)) return mode === 'broad';
  return hostMatches(host, base, mode, false);
}
