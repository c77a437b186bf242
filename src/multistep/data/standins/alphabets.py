"""The characters that stand-ins are drawn from: scripts of DejaVu Sans, which matplotlib ships.

Chosen so that no two look alike, not even when one of them is turned by a multiple of 90°, since
episodes turn classes. The two archives take different scripts, as Omniglot's do; the names say
that these are no alphabets of Omniglot.
"""

from __future__ import annotations

# archive: alphabet: its characters
ALPHABETS: dict[str, dict[str, str]] = {
    "images_background": {
        "Drawn_Latin": "AJKQRWt&?@§ß",
        "Drawn_Greek": "ΒΖΜΥΨβζμνςϗϞϟϠϡ",
        "Drawn_Cyrillic": "ГДЖИЛУЦЪЫЯЉѣѤѦѨѫѬѮѰ",
        "Drawn_Hebrew": "אבגדלמעץצקשױ",
        "Drawn_Georgian": "აგდეკლორსფჭჯჴჵ",
        "Drawn_Tifinagh": "ⴰⴳⴺⴻⴼⴽⵃⵋⵌⵐⵞⵢⵤ",
        "Drawn_Syllabics": "ᐁᐂᐅᐫᐬᐭᐮᑩᒄᒆᒇᒊᓁᓭᓮᓯᔐᔕ",
        "Drawn_Arabic": "ءبثجخدذرزسشطغفقكموىي",
        "Drawn_Signs": "☆☇☽☿♂♃♄♅♈♋♌♍♎♏♑⚐⚑⚒⚓",
    },
    "images_evaluation": {
        "Drawn_Lao": "ກຂຄຈຊຍຕຖທປຜສຮຯະາຽແໃໄ",
        "Drawn_Armenian": "ԱԲԳԵԸԹԺԻԽԾՀՂՋՔէթխճշռ",
        "Drawn_NKo": "߁߂߄߇߉ߑߒߖߞߢߤ",
        "Drawn_Asomtavruli": "ႡႢႥႨႩႫႮႯႼჁჅ",
        "Drawn_Phonetic": "ɓɕɖɚɝɧɨɫɮɰɲɻɿʆʉʐʒʛʡʢ",
        "Drawn_Operators": "∂∈∓∔∗√∛∝∠∡∺∾∿≂≆≈≎",
    },
}
