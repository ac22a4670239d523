import { PilotageError } from '../../lib/errors.ts';
import { checkAuthority, checkEndEntity, checkLink, type CertificateUsage } from './authority-rules.ts';
import type { Certificate } from './certificate.ts';
import { findPaths, parseChain, type CertificatePath } from './chain-path.ts';
import { checkProxies, isProxy, requireProxy, type ProxyRights, type ProxyState } from './proxy-rules.ts';
import { refusal } from './rules.ts';
import type { TrustAnchors } from './trust.ts';

/** What a service asks of a chain beyond the rules that always hold. */
export interface ChainPolicy {
  /** Proxies below the end entity; default 5, never more than 10. */
  maxProxyDepth?: number;
  /** What the certificate is used for; default `client`. */
  usage?: CertificateUsage;
  /** Where the chain was read from, for messages: a file. */
  source?: string;
  /** Further rules run on each path after ours, each throwing its refusal: revocation lists, signing policies. */
  rules?: readonly PathRule[];
}

/** A path whose links are already known to be valid. */
export interface JudgedPath {
  /** Leaf first. */
  proxies: Certificate[];
  endEntity: Certificate;
  /** Nearest to the end entity first; without the anchor. */
  authorities: Certificate[];
  anchor: Certificate;
}

export type PathRule = (path: JudgedPath, context: { trust: TrustAnchors; nowMs: number }) => void;

/** Who calls, by a chain that holds; a value of this type exists only after verification. */
export interface VerifiedChain {
  /** The person, host or robot behind all proxies. `dn` is the escaped slash form; `rawSubject` the Name's DER. */
  endEntity: { dn: string; rawSubject: Buffer };
  /** The authority that issued the end entity's certificate, slash form. */
  issuerDn: string;
  /** Number of proxies below the end entity. */
  depth: number;
  /** Whether any proxy is a limited one. */
  limited: boolean;
  /** What of the end entity's rights the leaf has; `none` below an independent or unknown policy. */
  rights: ProxyRights;
  /** The earliest end of any certificate on the path, anchor included; epoch milliseconds. */
  notAfterMs: number;
  /** sha256 of the SubjectPublicKeyInfo of every certificate on the path, leaf first, anchor last; hexadecimal. */
  keyHashes: string[];
  leafKeyHash: string;
  /** Upper-case hexadecimal; unique together with `leafIssuerDn`. */
  leafSerial: string;
  leafIssuerDn: string;
  /** Policy language OID of each proxy, leaf first. */
  policies: string[];
  /** The certificates themselves, for rules that read more of them (VOMS attributes). */
  path: JudgedPath;
}

const hardMaxProxyDepth = 10;

/**
 * Verifies a certificate chain with RFC 3820 proxies, as OpenSSL inside Node cannot (RFC 5280 6, RFC 3820 4, and where the
 * tools of the field differ the strictest of them).
 *
 * @param chain DER, leaf first, exactly as the peer sent it.
 * @param trust authorities to end at; what the peer sends is never trusted.
 * @param nowMs the one instant everything is judged at.
 * @throws E_NO_CERTIFICATE, E_CHAIN_UNTRUSTED, E_CHAIN_EXPIRED, E_CHAIN_INVALID; `rule` names the broken rule, `where` the
 * certificate.
 */
export function verifyChain(
  chain: readonly Buffer[],
  trust: TrustAnchors,
  nowMs: number,
  policy: ChainPolicy = {},
): VerifiedChain {
  const certificates = parseChain(chain, policy.source);
  const paths = findPaths(certificates, trust, nowMs);
  let firstRefusal: unknown;
  for (const path of paths) {
    try {
      checkOffPath(certificates, path);
      return judge(path, trust, nowMs, policy);
    } catch (error) {
      if (!(error instanceof PilotageError)) throw error;
      firstRefusal ??= error;
    }
  }
  throw firstRefusal;
}

function judge(
  found: CertificatePath,
  trust: TrustAnchors,
  nowMs: number,
  policy: ChainPolicy,
): VerifiedChain {
  const usage = policy.usage ?? 'client';
  const path = classify(found);
  const { proxies, endEntity, authorities, anchor } = path;
  const all = [...found.certificates, anchor];
  for (const certificate of all) checkLink(certificate, nowMs, certificate === anchor);
  [...authorities, anchor].forEach((authority, index) =>
    checkAuthority(authority, authorities.slice(0, index).toReversed(), endEntity, {
      isAnchor: authority === anchor,
      usage,
    }),
  );
  checkEndEntity(endEntity, usage);
  const maxDepth = Math.min(policy.maxProxyDepth ?? 5, hardMaxProxyDepth);
  const state = checkProxies(endEntity, proxies.toReversed(), { maxDepth, usage });
  for (const rule of policy.rules ?? []) rule(path, { trust, nowMs });
  return describe(path, all, state);
}

/**
 * Splits a path into proxies, end entity and authorities by what the certificates are: from the anchor down, authorities
 * as long as they are CA:TRUE, then one end entity; everything below it has to be a proxy.
 */
function classify({ certificates, anchor }: CertificatePath): JudgedPath {
  const fromAnchor = certificates.toReversed();
  const first = fromAnchor.findIndex(
    certificate => !certificate.basicConstraints?.ca || isProxy(certificate),
  );
  const endEntity = fromAnchor[first];
  if (!endEntity) {
    const leaf = certificates[0]!;
    throw refusal('end-entity', {
      message: 'The certificate of an authority cannot be used to call a service.',
      where: leaf.where,
      found: 'CA:TRUE',
      fix: 'Use a certificate of a person, host or robot.',
    });
  }
  if (isProxy(endEntity)) {
    throw refusal('proxy-issuer', {
      message: 'A proxy was issued by an authority.',
      where: endEntity.where,
      found: `issuer ${endEntity.issuerDn}`,
      fix: 'Make the proxy from the certificate of a person, host or robot.',
    });
  }
  const proxies = fromAnchor.slice(first + 1);
  proxies.forEach(requireProxy);
  return {
    proxies: proxies.toReversed(),
    endEntity,
    authorities: fromAnchor.slice(0, first).toReversed(),
    anchor,
  };
}

/** Certificates beside the path are never read; only authorities may lie there (cross-signed or surplus ones). */
function checkOffPath(sent: readonly Certificate[], path: CertificatePath): void {
  for (const certificate of sent) {
    if (!path.certificates.includes(certificate) && !certificate.basicConstraints?.ca) {
      throw refusal('off-path', {
        message: 'The chain holds a certificate that does not belong to it.',
        where: certificate.where,
        found: `a certificate issued by ${certificate.issuerDn}`,
        fix: 'Send only the certificate, its proxies and its authorities.',
      });
    }
  }
}

function describe(path: JudgedPath, all: Certificate[], state: ProxyState): VerifiedChain {
  const leaf = all[0]!;
  return {
    endEntity: { dn: path.endEntity.subjectDn, rawSubject: path.endEntity.subject },
    issuerDn: path.endEntity.issuerDn,
    depth: path.proxies.length,
    ...state,
    notAfterMs: Math.min(...all.map(({ notAfterMs }) => notAfterMs)),
    keyHashes: all.map(({ keyHash }) => keyHash),
    leafKeyHash: leaf.keyHash,
    leafSerial: leaf.serial,
    leafIssuerDn: leaf.issuerDn,
    policies: path.proxies.map(({ proxyInfo }) => proxyInfo?.language ?? ''),
    path,
  };
}
