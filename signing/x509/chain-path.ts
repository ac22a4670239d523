import { isSelfSigned, isSignedBy, parseCertificate, type Certificate } from './certificate.ts';
import { refusal } from './rules.ts';
import type { TrustAnchors } from './trust.ts';

export const maxChainCertificates = 12;

/** One way from the leaf to an anchor, by raw name and signature; nothing else of it is judged yet. */
export interface CertificatePath {
  /** Leaf first; the anchor is not among them. */
  certificates: Certificate[];
  anchor: Certificate;
}

const MAX_STEPS = 200;
const MAX_PATHS = 4;

/**
 * Reads what the peer sent: bounds, strict encoding; repeated certificates once.
 *
 * @param source what messages call the chain: a file, or nothing.
 * @throws E_NO_CERTIFICATE, E_CHAIN_INVALID (chain-bounds, strict-der, …).
 */
export function parseChain(
  ders: readonly Buffer[],
  source = 'certificate chain',
): [Certificate, ...Certificate[]] {
  if (ders.length > maxChainCertificates) {
    throw refusal('chain-bounds', {
      message: 'The certificate chain is too long.',
      where: source,
      found: `${ders.length} certificates`,
      fix: 'Send the end-entity certificate, its proxies and its intermediate authorities only.',
    });
  }
  const unique = ders.filter((der, index) => ders.findIndex(other => other.equals(der)) === index);
  const prefix = source === 'certificate chain' ? '' : `${source}, `;
  const [leaf, ...others] = unique.map((der, index) =>
    parseCertificate(der, `${prefix}certificate ${index + 1} of ${unique.length}`),
  );
  if (!leaf) {
    throw refusal('chain-present', {
      message: 'There is no certificate.',
      where: source,
      found: 'an empty chain',
      fix: 'Call with a client certificate (cert and key).',
    });
  }
  return [leaf, ...others];
}

/**
 * Finds the ways from the first certificate to an anchor. Self-signed certificates that the peer sent are never used:
 * anchors come from `trust` only (RFC 5280 6.1.1 (d)). At most four ways are returned, those over anchors valid at
 * `nowMs` first; the search is bounded.
 *
 * @throws E_CHAIN_UNTRUSTED when there is none; `found` names the issuer that is missing or did not sign.
 */
export function findPaths(
  [leaf, ...others]: readonly [Certificate, ...Certificate[]],
  trust: TrustAnchors,
  nowMs: number,
): [CertificatePath, ...CertificatePath[]] {
  const isAnchor = (certificate: Certificate) => trust.anchors.some(({ der }) => der.equals(certificate.der));
  const sent = others.filter(other => !isSelfSigned(other));
  const known = trust.intermediates.filter(({ der }) => !sent.some(other => other.der.equals(der)));
  const links = [...sent, ...known];
  const signatures = new Map<Certificate, Map<Certificate, boolean>>();
  const signed = (child: Certificate, issuer: Certificate): boolean => {
    const checked = signatures.get(child) ?? new Map<Certificate, boolean>();
    signatures.set(child, checked);
    const answer = checked.get(issuer) ?? isSignedBy(child, issuer);
    checked.set(issuer, answer);
    return answer;
  };
  const paths: CertificatePath[] = [];
  let steps = 0;
  let gap: Certificate = leaf;
  let wrongKey = false;
  let longest = 0;
  const climb = (path: Certificate[]): void => {
    const child = path.at(-1)!;
    if (++steps > MAX_STEPS || paths.length >= MAX_PATHS || path.length > maxChainCertificates) return;
    const named = (issuer: Certificate) => issuer.subject.equals(child.issuer);
    const above = trust.anchors.filter(named);
    const between = links.filter(link => named(link) && !path.some(({ der }) => der.equals(link.der)));
    const issuers = [...above, ...between].filter(issuer => signed(child, issuer));
    if (issuers.length === 0 && path.length > longest) {
      gap = child;
      longest = path.length;
      wrongKey = above.length + between.length > 0;
    }
    for (const issuer of issuers) {
      if (above.includes(issuer)) paths.push({ certificates: path, anchor: issuer });
      else climb([...path, issuer]);
    }
  };
  if (!isAnchor(leaf) && !isSelfSigned(leaf)) climb([leaf]);
  const current = ({ anchor }: CertificatePath) => anchor.notBeforeMs <= nowMs && nowMs <= anchor.notAfterMs;
  const [first, ...rest] = [...paths.filter(current), ...paths.filter(path => !current(path))];
  if (first) return [first, ...rest];
  throw refusal('trust-anchor', {
    message: wrongKey
      ? 'A certificate of the chain was not signed by the authority whose name it carries.'
      : 'The certificate chain does not lead to an authority that is trusted here.',
    where: gap.where,
    expected: `a path to one of: ${anchorNames(trust)}`,
    found: gap === leaf && isSelfSigned(leaf) ? 'a self-signed certificate' : `issuer ${gap.issuerDn}`,
    fix: wrongKey
      ? 'Get a certificate from the real authority; another one uses the same name.'
      : `Send the intermediate certificates too, or add the authority to ${trust.source}.`,
  });
}

const anchorNames = ({ anchors }: TrustAnchors): string =>
  anchors
    .slice(0, 3)
    .map(({ subjectDn }) => subjectDn)
    .join(', ') + (anchors.length > 3 ? ` and ${anchors.length - 3} more` : '');
