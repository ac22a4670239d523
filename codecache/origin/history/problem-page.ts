import { html } from './html.ts';
import { renderPage } from './page.ts';

export interface HistoryAnswer {
  status: number;
  type: 'text/html; charset=utf-8' | 'application/json';
  body: string;
}

/** A page that says why there is no other. */
export const problem = (status: number, words: string): HistoryAnswer => ({
  status,
  type: 'text/html; charset=utf-8',
  body: renderPage(status === 404 ? 'Not found' : 'Not possible', html`<p>${words}</p>`),
});
