/** The HTML of a live page: a frame that its script fills with what the server sends. */
import { PAGE_STYLE } from '../report/page/style.js'
import { LIVE_SCRIPT } from './script.js'
import { LIVE_STYLE } from './style.js'

/** A line that falls, as a picture beside the page's title. */
const ICON =
  "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>" +
  "<path d='M1 13h3l2-9h3l2 8h4' fill='none' stroke='%230072b2' stroke-width='2'/></svg>"

/** Returns the policy of the page: only its own scripts and style sheets run, and it connects to its server only. */
export function policyOf(nonce: string): string {
  return [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src 'nonce-${nonce}'`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join('; ')
}

/** Returns the page. Nothing in it comes from a run. */
export function livePage(nonce: string, library: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ebb</title>
<link rel="icon" href="${ICON.replaceAll('<', '%3C').replaceAll('>', '%3E')}">
<style nonce="${nonce}">${PAGE_STYLE}${LIVE_STYLE}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the figures</a>
<div class="bar">
<span class="dot" id="dot" aria-hidden="true"></span>
<span id="status" role="status">Connecting</span>
<button type="button" id="pause" aria-pressed="false" hidden>Pause</button>
</div>
<main id="content" tabindex="-1"></main>
<noscript><p class="bar">This page needs JavaScript. The terminal shows the same figures.</p></noscript>
<script nonce="${nonce}" src="${library.replaceAll('&', '&amp;')}" id="library" async></script>
<script nonce="${nonce}">${LIVE_SCRIPT}</script>
</body>
</html>
`
}
