import { createRequire } from 'node:module';

/** A piece of a page. */
export interface Markup {
  readonly type: unknown;
}

/** What can stand in one; texts are escaped. */
export type Content = Markup | string | number | false | null | readonly Content[];

type Tag = (strings: TemplateStringsArray, ...values: unknown[]) => Markup;

// Loaded without their types: those bring the whole of a browser's into a program that is none.
const load = createRequire(import.meta.url);
const { h } = load('preact') as { h: (type: unknown, props: unknown, ...children: unknown[]) => Markup };
const htm = load('htm') as { bind: (create: typeof h) => Tag };
const { renderToStaticMarkup } = load('preact-render-to-string') as {
  renderToStaticMarkup: (markup: Markup) => string;
};

/** Markup with one outermost element, from a template: html`<p>${text}</p>`. */
export const html: Tag = htm.bind(h);

export const render = (markup: Markup): string => renderToStaticMarkup(markup);
