import { constants } from 'node:crypto';
import type { TLSSocket, TlsOptions } from 'node:tls';
import { signingError } from '../errors.ts';
import { maxChainCertificates } from './chain-path.ts';
import { refusal } from './rules.ts';

/**
 * The certificates that the other side of a TLS connection sent: DER, leaf first, exactly as sent, for `verifyChain`.
 * TLS itself has proved that the peer holds the leaf's key.
 *
 * `getPeerX509Certificate` is used because `getPeerCertificate(true)` re-builds the chain and loses proxies. A resumed
 * session carries only the leaf and would skip verification, so it is refused.
 *
 * @throws E_SESSION_RESUMED, E_NO_CERTIFICATE, E_CHAIN_INVALID (chain-bounds).
 */
export function peerChain(socket: TLSSocket): Buffer[] {
  if (socket.isSessionReused()) {
    throw signingError({
      code: 'E_SESSION_RESUMED',
      message: 'A resumed TLS session carries no whole certificate chain and is refused.',
      where: 'TLS connection',
      expected: 'a full handshake',
      found: 'a resumed session',
      rule: 'full-handshake: RFC 8446 2.2',
      fix: 'Connect again without session resumption.',
    });
  }
  const chain: Buffer[] = [];
  const seen = new Set<string>();
  let certificate = socket.getPeerX509Certificate();
  while (certificate && !seen.has(certificate.fingerprint256)) {
    if (chain.length === maxChainCertificates) {
      throw refusal('chain-bounds', {
        message: 'The certificate chain is too long.',
        where: 'TLS connection',
        found: `more than ${maxChainCertificates} certificates`,
        fix: 'Send the end-entity certificate, its proxies and its intermediate authorities only.',
      });
    }
    seen.add(certificate.fingerprint256);
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  if (chain.length === 0) {
    throw refusal('chain-present', {
      message: 'The caller showed no client certificate.',
      where: 'TLS connection',
      found: 'no certificate',
      fix: 'Call with a client certificate: --cert and --key, or X509_USER_PROXY.',
    });
  }
  return chain;
}

/**
 * Options of every TLS server whose callers are judged by `peerChain` and `verifyChain`: client certificates asked for
 * and let through whatever OpenSSL thinks of them (it rejects every proxy), no session tickets, no renegotiation.
 * Nobody may add `newSession` or `resumeSession` handlers to such a server.
 */
export const serverTlsOptions = (identity: { certificatePem: string; keyPem: string }) =>
  ({
    cert: identity.certificatePem,
    key: identity.keyPem,
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    handshakeTimeout: 10_000,
  }) satisfies TlsOptions;
