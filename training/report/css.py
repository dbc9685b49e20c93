"""The style sheet of the page, for wide screens, phones and print, light and dark."""

from training.report.svg import FONT, colors

STYLE = (
    f":root{{color-scheme:light dark;--font:{FONT};--page:#f6f8fa;--good:#1a7f4b;--bad:#b3412e}}"
    "@media(prefers-color-scheme:dark){:root{--page:#12181f;--good:#4cc38a;--bad:#f08a76}}"
    + colors()
    + """
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 var(--font)}
main{max-width:880px;margin:0 auto;padding:40px 20px 64px}
h1{font-size:30px;line-height:1.2;margin:0 0 4px}
h2{font-size:19px;line-height:1.3;margin:0 0 10px}
h3{font-size:16px;margin:0 0 6px}
p{margin:0 0 12px}ul{margin:0;padding-left:20px}li{margin:4px 0}
a{color:var(--mark)}
.lead{color:var(--soft);margin:0 0 20px}
.note{color:var(--soft);font-size:14px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:20px 24px;margin:0 0 18px;scroll-margin-top:12px}
section>:last-child,.example>:last-child{margin-bottom:0}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin:0 0 18px;font-size:14px}
.gate{border-left:6px solid var(--tone)}.gate h2{color:var(--tone);font-size:22px}
.good{--tone:var(--good)}.bad{--tone:var(--bad)}
.checks{list-style:none;padding:0;margin:14px 0 0}
.checks li{display:grid;grid-template-columns:22px 1fr;margin:8px 0}
.checks .mark{color:var(--tone);font-weight:700}
.checks small{display:block;color:var(--soft);font-size:14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;
margin:0 0 18px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 18px}
.tile b{display:block;font-size:26px;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13.5px;line-height:1.35;display:block}
figure{margin:6px 0 14px}
figure svg{display:block;width:100%;max-width:560px;height:auto;margin:0 auto}
.wide{overflow-x:auto;margin:0 0 12px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:15px}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:500}thead th{color:var(--soft);font-size:13px;vertical-align:bottom}
tbody tr:last-child>*{border-bottom:0}
th:first-child{text-align:left;padding-left:0;white-space:normal}td b{color:var(--mark)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:0 0 16px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.bars td:last-child{width:40%;min-width:60px}
.compact{grid-template-columns:repeat(2,max-content 1fr)}
.bar{display:block;height:9px;border-radius:5px;background:var(--mark)}
.features td:nth-child(2){white-space:normal;min-width:230px;text-align:left;color:var(--soft);
font-size:13.5px;line-height:1.4}
.features th[scope=row]{font-size:14px}
details{margin:0 0 12px}summary{cursor:pointer;color:var(--mark);padding:4px 0}
.example{border-top:1px solid var(--line);padding-top:16px;margin-top:16px}
.coupons{list-style:none;padding:0;margin:10px 0 0}
.coupons>li{display:grid;grid-template-columns:44px 1fr;gap:0 8px;padding:10px 0;margin:0;
border-top:1px dashed var(--line)}
.rank{font-size:19px;font-weight:700;color:var(--soft);font-variant-numeric:tabular-nums}
.name{font-weight:500;overflow-wrap:anywhere}
.name small{color:var(--soft);font-weight:400;overflow-wrap:anywhere}
.redeemed{color:var(--good);font-weight:700;white-space:nowrap}
.why{list-style:none;padding:0;margin:4px 0 0;font-size:14.5px}
.why li{display:grid;grid-template-columns:60px 1fr;margin:2px 0}
.why b{font-variant-numeric:tabular-nums;color:var(--good);font-weight:600}
.why .against b{color:var(--bad)}
.why code{color:var(--soft);font-size:12.5px;white-space:nowrap}
@media(max-width:560px){main{padding:24px 12px 48px}section{padding:16px 14px}
h1{font-size:24px}dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 8px}
table{font-size:14px}th,td{padding:5px 7px}th:first-child{min-width:118px}
.compact{grid-template-columns:max-content 1fr;gap:2px 16px}.compact dd{margin:0}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tile{padding:10px 12px}.tile b{font-size:21px}}
@media print{body{background:none}section{break-inside:avoid}nav{display:none}}
"""
)
