/** What a live page shows at one moment, and how it is sent to the browser. */
import { contentOf, type DrawingData, drawingData, type Page, titleOf } from '../report/page/page.js'

/** What a live page shows: the parts of a report's page, and what changes all the time. */
export interface LiveView extends Page {
  /** Whether the run goes on. A finished recording is `finished` from the beginning. */
  state: 'running' | 'finished'
  /** What the run does now, as a short sentence. Screen readers announce it when it changes. */
  status: string
  /** Texts of elements of `body`, by their ids. */
  texts: Record<string, string>
  /** What each chart shows, in words for screen readers, by the chart's id. */
  labels: Record<string, string>
}

/** A view as the script of the page gets it. */
export interface SentView extends DrawingData {
  state: LiveView['state']
  status: string
  title: string
  /** HTML of the main element. All text from outside is escaped. */
  html: string
  texts: Record<string, string>
  labels: Record<string, string>
}

/** Returns a view as it is sent. */
export function sentView(view: LiveView): SentView {
  const { state, status, texts, labels } = view
  return { ...drawingData(view), state, status, title: titleOf(view), html: contentOf(view), texts, labels }
}
