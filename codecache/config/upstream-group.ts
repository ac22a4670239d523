import * as z from 'zod';
import { cachesOf } from '../http/cache-group.ts';

/** What is wrong with one URL as a place to fetch from, without any password in it; undefined: nothing. */
function wrongWith(url: string): string | undefined {
  if (!URL.canParse(url)) return `"${url}" is no URL`;
  const { protocol, username, password, search, hash, hostname, host } = new URL(url);
  if (username !== '' || password !== '')
    return `the one of ${host} has a user name, which belongs in no address`;
  if (!/^https?:$/.test(protocol) || hostname === '') return `"${url}" is none`;
  if (search !== '' || hash !== '' || /[?#]/.test(url)) return `"${url}" has a query or fragment`;
  if (/[\s>;,]/.test(url)) return `"${url}" is no URL of one place`;
  return undefined;
}

const EXPECTED = 'an http: or https: URL is expected';

/** Base URL of an origin or a cache. */
export const upstreamUrl = z
  .string()
  .max(300)
  .superRefine((url, context) => {
    const wrong = wrongWith(url);
    if (wrong !== undefined) context.addIssue({ code: 'custom', message: `${EXPECTED}; ${wrong}` });
  });

/** `http://a|http://b`: any of them. */
const upstreamGroup = z
  .string()
  .max(4096)
  .superRefine((group, context) => {
    const urls = group.split('|');
    if (urls.length > 16) context.addIssue({ code: 'custom', message: 'at most 16 URLs in one group' });
    for (const url of urls) {
      const wrong = wrongWith(url);
      if (wrong !== undefined)
        context.addIssue({
          code: 'custom',
          message: `${EXPECTED}, or several with "|" between them; ${wrong}`,
        });
    }
  });

/** Groups in order. A place that is named twice would be asked twice for what it does not have. */
export const upstreamGroups = z
  .array(upstreamGroup, 'name the origin or another cache with --upstream URL')
  .min(1)
  .max(16)
  .superRefine((groups, context) => {
    const urls = groups.flatMap(cachesOf);
    const twice = urls.find((url, at) => urls.indexOf(url) !== at);
    if (twice !== undefined) context.addIssue({ code: 'custom', message: `"${twice}" is named twice` });
  });
